"""Looks at a study from a process that trained nothing, and prints JSON: `check_students.py STUDY RETRAIN`.

For each point of the front: on how many test events the saved Keras model and the saved adder graph
differ, and the mean AUC of the latter. For some points: the design that training anew leads to.
"""

import os

os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"  # as workers train (`sweep.processes`)

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from alkaid.types import CombLogic

from objectives.measurement import all_events, split_outputs
from objectives.schemes import hgq  # noqa: F401  # the layers that saved students are made of
from objectives.scores import score
from sweep import home
from sweep.front import front_of
from sweep.reproduction import retrain
from sweep.search.history import STARTS_FROM
from sweep.storage.database import open_storage
from sweep.study import load
from sweep.worker.training_ground import TrainingGround


def compare(folder: Path, ground: TrainingGround) -> dict[str, Any]:
    part = ground.dataset.test
    events = all_events(part)
    model = keras.models.load_model(folder / "student.keras", compile=False)
    logic = CombLogic.load(folder / "adder_graph.json.gz")
    trained = model.predict(events.astype(np.float32)[..., None], batch_size=1024, verbose=0)[:, 0]
    built = logic.predict(np.ascontiguousarray(events.reshape(len(events), -1), np.float64))[:, 0]
    return {
        "events": len(events),
        "differ": int((trained != built).sum()),
        "values": len(np.unique(built)),
        "mean_auc": score(*split_outputs(part, built)).mean_auc,
        "lut": float(logic.cost),
    }


def main(name: str, again: int) -> None:
    study = load(open_storage(home.default_storage(), create=False), name)
    ground = TrainingGround(study.file)
    points = front_of(study).as_json()["points"]
    trials = [point["trial"] for point in points]
    # First a student of a run that went on from another's; the ends of runs, too, dominated or not.
    known = study.trials()
    runs = {p.number: known[p.user_attrs.get("parent", p.number)] for p in study.points()}
    continued = [number for number, run in runs.items() if STARTS_FROM in run.user_attrs]
    ends = [number for number, run in runs.items() if number == run.number]
    chosen = list(dict.fromkeys([*continued[:1], *trials, *ends]))[:again]
    found = {
        "points": {point["trial"]: compare(Path(point["student"]), ground) for point in points},
        "designs": {number: retrain(study, number, ground).digest() for number in chosen},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
