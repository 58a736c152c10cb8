"""Works like a worker, only faster: `slot_worker.py URL LOG BUDGET`; a program of its own for test_slots.

Each step is noted in the log as soon as it is known to be done.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from sweep.storage.database import open_storage
from sweep.storage.slots import Claim, Slots
from sweep.worker.name import worker_name


def main(url: str, log: Path, budget: int) -> None:
    slots = Slots(open_storage(url).engine, 1, worker_name())
    rng = random.Random(os.getpid())
    with log.open("a", buffering=1) as notes:

        def note(what: str, claim: Claim | None = None, trial: int | None = None) -> None:
            about = {"slot": claim.slot, "attempt": claim.attempt, "trial": trial} if claim else {}
            notes.write(json.dumps({"what": what, "worker": slots.worker, **about}) + "\n")

        note("ready")
        while not log.with_name("go").exists():
            time.sleep(0.01)
        while (claim := slots.claim(budget)) is not None:
            note("claimed", claim, claim.trial_id)
            if claim.trial_id is None:
                trial = rng.randrange(10**9)
                assert slots.begin(claim, f"{trial:016x}", lambda _, trial=trial: trial) == trial
                note("begun", claim, trial)
            time.sleep(rng.uniform(0, 0.1))
            slots.finish(claim, lambda _: None)
            note("finished", claim)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
