"""The form `keras`: the student as it was trained, and the adder graph that everything is compared with."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from objectives.costs.rtl import ADDER_GRAPH
from objectives.costs.score_port import raw_scores
from objectives.errors import CostError
from objectives.students.network_file import NETWORK
from sweep.errors import ExportError, SynthesisError
from sweep.export import keras_scores
from sweep.export.form import Answer, Form, FormName, Source
from sweep.export.tools import NotVerifiedError, run
from sweep.export.vectors import Vectors
from sweep.synthesis import hls_project
from sweep.synthesis.vitis import STUDENT, interpreter_of, own_classes

RECORD = "student.json"
CONFIGURATION = "configuration.json"
LOADING = "load.py"

_LOADING = {
    "hgq": '''\
"""Scores of the student on the collisions of this export; `python load.py`, with cicada-sweep installed."""

from pathlib import Path

import keras
import numpy as np

import objectives.schemes.hgq  # noqa: F401  # the layers that the student is made of

HERE = Path(__file__).parent
model = keras.models.load_model(HERE / "student.keras", compile=False)
with np.load(HERE.parent / "events.npz") as events:
    regions = (events["low"].astype(np.uint16) | events["high"].astype(np.uint16) << 8)[:1000]
# Regions (n, 18, 14, 1): phi, then eta; counts of 0.5 GeV.
scores = model.predict(regions.reshape(-1, *model.input_shape[1:]).astype(np.float32), verbose=0)[:, 0]
print(f"{len(scores)} events, mean score {scores.mean():.4f}")
''',
    "qkeras": '''\
"""How the student is loaded: in an environment with qkeras-v3 and tensorflow, without HGQ2."""

import inspect
from pathlib import Path

import keras
import numpy as np
import qkeras

HERE = Path(__file__).parent


class QDenseBatchnorm(qkeras.QDenseBatchnorm):
    """Loads what Keras 3 saved, which has more options than the layer takes."""

    @classmethod
    def from_config(cls, config):
        known = {"name", "trainable", "dtype", *inspect.signature(qkeras.QDenseBatchnorm.__init__).parameters}
        return cls(**{name: value for name, value in config.items() if name in known})


model = keras.models.load_model(
    HERE / "student.keras", compile=False, custom_objects={"QDenseBatchnorm": QDenseBatchnorm}
)
with np.load(HERE.parent / "events.npz") as events:
    regions = (events["low"].astype(np.uint16) | events["high"].astype(np.uint16) << 8)[:1000]
# Regions (n, 18, 14, 1): phi, then eta; counts of 0.5 GeV.
scores = model.predict(regions.reshape(-1, *model.input_shape[1:]).astype(np.float32), verbose=0)[:, 0]
print(f"{len(scores)} events, mean score {scores.mean():.4f}")
''',
}


class KerasForm(Form):
    """The saved model, its configuration and record, and its adder graph."""

    name: ClassVar[FormName] = "keras"

    def write(self, source: Source, folder: Path) -> None:
        # Students of earlier versions have no network beside them.
        network = (NETWORK,) if (source.folder / NETWORK).is_file() else ()
        for name in (STUDENT, ADDER_GRAPH, RECORD, *network):
            shutil.copyfile(source.folder / name, folder / name)
        (folder / CONFIGURATION).write_text(json.dumps(_configuration(folder / STUDENT), indent=1))
        (folder / LOADING).write_text(_LOADING[source.scheme])

    def answer(self, folder: Path, scheme: str, vectors: Vectors, scratch: Path) -> Answer:
        try:
            python = interpreter_of(scheme)
        except SynthesisError as error:
            raise NotVerifiedError(str(error)) from error
        np.save(scratch / "events.npy", vectors.images())
        run(
            (
                *(python, str(Path(keras_scores.__file__).resolve())),
                *(str((folder / STUDENT).resolve()), "events.npy", "scores.npy", "versions.json"),
                *(str(Path(hls_project.__file__).resolve()), "--scheme", scheme, *own_classes(scheme)),
            ),
            scratch,
            "keras",
        )
        try:
            scores = raw_scores(np.load(scratch / "scores.npy", allow_pickle=False))
        except CostError as error:
            raise ExportError(f"keras: {error}") from error
        return Answer(scores, {**json.loads((scratch / "versions.json").read_text())})


def _configuration(student: Path) -> Any:
    try:
        with zipfile.ZipFile(student) as archive:
            return json.loads(archive.read("config.json"))
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise ExportError(f"{student.name}: is no Keras model ({error}); train this student again") from error
