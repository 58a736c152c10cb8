"""Save the quantized networks of students that were saved without: ``python -m dashboards.describe FOLDER…``.

The only part of the dashboards that needs Keras, and so it runs in a process of its own.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras

from objectives.schemes import hgq
from objectives.students.network_file import NETWORK, write_network


def describe(folder: Path) -> None:
    """Write the network of the student in `folder` beside it; it must be the design that was measured."""
    network = hgq.describe(keras.models.load_model(folder / "student.keras", compile=False))
    recorded = json.loads((folder / "student.json").read_text())["design"]
    if network.digest() != recorded:
        raise SystemExit(f"{folder}: student.keras is not the design that was measured")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".network-") as temporary:
        write_network(Path(temporary) / NETWORK, network)
        os.replace(Path(temporary) / NETWORK, folder / NETWORK)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        describe(Path(name))
