"""A training run as a log, from the database alone: who tried it, what was measured, how it ended."""

from datetime import UTC, datetime

import sqlalchemy as sa
from optuna.trial import FrozenTrial

from sweep.storage.database import READS
from sweep.storage.schema import ATTEMPTS
from sweep.study import Study


def run_log(study: Study, run: FrozenTrial) -> str:
    """Return what the database knows of a run, a line each; times are UTC."""
    about = run.user_attrs
    begun = f", which goes on from trial {about['starts_from']}" if "starts_from" in about else ""
    lines = [f"run {run.number} of {study.name}{begun}"]
    lines += [f"{name}: {value}" for name, value in run.params.items()]
    lines += [f"{name}: {about[name]}" for name in ("seed", "digest") if name in about]
    lines += _attempts(study, about.get("slot"))
    for trial in study.trials():
        if trial.user_attrs.get("parent") == run.number or trial.number == run.number:
            lines += _measured(study, trial)
    if "core_seconds" in about:
        lines.append(f"processor time: {about['core_seconds']:.1f} s")
    lines += [f"{name} {version}" for name, version in about.get("versions", {}).items()]
    lines.append(about.get("problem", f"ended: {run.state.name.lower()}"))
    return "\n".join(lines) + "\n"


def _attempts(study: Study, slot: int | None) -> list[str]:
    mine = sa.and_(ATTEMPTS.c.study_id == study.id, ATTEMPTS.c.slot == slot)
    with study.storage.engine.connect().execution_options(**READS) as connection:
        rows = connection.execute(sa.select(ATTEMPTS).where(mine).order_by(ATTEMPTS.c.attempt)).mappings()
        found = []
        for row in rows:
            found.append(f"{_time(row['started'])} attempt {row['attempt']} by {row['worker']}")
            if row["ended"] is not None:
                why = f": {row['evidence']}" if row["evidence"] else ""
                found.append(f"{_time(row['ended'])} attempt {row['attempt']} {row['ending']}{why}")
    return found


def _measured(study: Study, trial: FrozenTrial) -> list[str]:
    about = trial.user_attrs
    if "epoch" not in about:
        return []
    if trial.values is None:
        return [f"trial {trial.number}, epoch {about['epoch']}: {about.get('problem', 'not measured')}"]
    told = zip(study.file.objectives, trial.values, strict=True)
    values = ", ".join(f"{name} {value:.6g}" for name, value in told)
    return [f"trial {trial.number}, epoch {about['epoch']}, beta {about['beta']:.3g}: {values}"]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
