"""Runs a saved student in an interpreter that has what it is made of: HGQ2 or QKeras, never both.

    python keras_scores.py STUDENT.keras EVENTS.npy SCORES.npy VERSIONS.json --scheme hgq --register …

Nothing of this project is imported here unless it is asked for: QKeras has an environment of its own.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

BATCH = 2048


def main() -> int:
    parser = argparse.ArgumentParser(description="Score events with a saved student.")
    for name in ("student", "events", "scores", "versions", "conversion"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--scheme", required=True)
    parser.add_argument("--register", default="")
    options = parser.parse_args()
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import numpy as np

    if options.register:
        importlib.import_module(options.register)
    conversion = _module(options.conversion)
    model = conversion.load_student(options.student, options.scheme)
    events = np.load(options.events, allow_pickle=False).reshape(-1, *model.input_shape[1:])
    found = model.predict(events.astype(np.float32), batch_size=BATCH, verbose=0)
    np.save(options.scores, np.asarray(found, np.float64).reshape(len(events), -1)[:, 0])
    packages = ("keras", "tensorflow", conversion.PACKAGES[options.scheme])
    versions = {name: version(name) for name in packages}
    options.versions.write_text(json.dumps({"python": platform.python_version(), **versions}))
    return 0


def _module(file: Path) -> ModuleType:
    """Import `hls_project`, which knows how students of each scheme are loaded, from its file."""
    found = importlib.util.spec_from_file_location("student_conversion", file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
