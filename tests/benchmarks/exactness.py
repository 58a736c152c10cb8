"""Is what was measured what is built? For every point of a study's front:

Keras and the adder-graph interpreter are compared on at least 10,000 test events, every bit, and
`--retrain` trials are trained again from the database and compared with the design that is there.

    uv run python -m tests.benchmarks.exactness quickstart --retrain 2 --json
"""

import argparse
import json
import os
import sys
from pathlib import Path

# As workers train (`sweep.processes`): otherwise a seed would not lead to the same student twice.
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from alkaid.types import CombLogic

from objectives.measurement import all_events
from objectives.schemes import hgq  # noqa: F401  # what saved students are made of
from sweep import home
from sweep.front import front_of
from sweep.reproduction import retrain
from sweep.storage.database import open_storage
from sweep.study import load
from sweep.worker.training_ground import TrainingGround


def main() -> None:
    """Compare, and exit with 1 if one bit differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--retrain", type=int, default=0, metavar="N", help="points to train again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    study = load(open_storage(home.default_storage(), create=False), options.study)
    ground = TrainingGround(study.file)
    events = all_events(ground.dataset.test)
    chosen = np.random.default_rng(0).permutation(len(events))[: options.events]
    front = front_of(study).as_json()["points"]
    points = [compare(point, events[chosen]) for point in front]
    again = [
        again_like(study, point, ground) for point in front[:: max(len(front) // max(options.retrain, 1), 1)]
    ]
    result = {
        "study": study.name,
        "events": len(chosen),
        "points": points,
        "retrained": again[: options.retrain],
    }
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        for p in points:
            print(f"trial {p['trial']}: {p['mismatches']} of {len(chosen)} events differ")
        for r in result["retrained"]:
            print(f"trial {r['trial']} trained again: {'same' if r['same'] else 'ANOTHER'} design")
    bad = any(p["mismatches"] for p in points) or not all(r["same"] for r in result["retrained"])
    sys.exit(1 if bad else 0)


def compare(point: dict, events: np.ndarray) -> dict:
    """Return how many of the events (n, 18, 14) the saved model and the saved logic disagree on."""
    folder = Path(point["student"])
    model = keras.models.load_model(folder / "student.keras", compile=False)
    logic = CombLogic.load(folder / "adder_graph.json.gz")
    trained = model.predict(events.astype(np.float32)[..., None], batch_size=1024, verbose=0)[:, 0]
    built = logic.predict(np.ascontiguousarray(events.reshape(len(events), -1), np.float64), n_threads=1)[
        :, 0
    ]
    return {"trial": point["trial"], "mismatches": int((trained != built).sum())}


def again_like(study, point: dict, ground: TrainingGround) -> dict:
    """Train the point's trial again and compare designs."""
    recorded = study.trials()[point["trial"]].user_attrs["design"]
    design = retrain(study, point["trial"], ground).digest()
    return {"trial": point["trial"], "design": design, "same": design == recorded}


if __name__ == "__main__":
    main()
