"""Optuna's tables, read and written many rows at a time.

Optuna's own interface takes a transaction for each parameter and attribute, and builds an object for
each row that it reads. What a run leaves belongs into one transaction, together with our own tables:
there is no moment at which half of it is in the database.
"""

import functools
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb.models import (
    StudyModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState

STUDIES = StudyModel.__table__
TRIALS = TrialModel.__table__
PARAMS = TrialParamModel.__table__
VALUES = TrialValueModel.__table__
USER = TrialUserAttributeModel.__table__
SYSTEM = TrialSystemAttributeModel.__table__
STEPS = TrialIntermediateValueModel.__table__

#: The highest id that a trial may have.
LAST_ID = 2**31 - 1
#: Parameters of one statement; SQLite of old allows 32,766 in all.
MOST_IDS = 10_000

_distribution = functools.lru_cache(maxsize=4096)(json_to_distribution)
_distribution_json = functools.lru_cache(maxsize=4096)(distribution_to_json)


# ---- reading ------------------------------------------------------------------------------------


def read(
    connection: sa.Connection,
    study_id: int,
    *,
    after: int = -1,
    and_ids: Collection[int] = (),
    states: Collection[TrialState] | None = None,
) -> list[FrozenTrial]:
    """Return the trials of a study whose ids are above `after` or among `and_ids`, by id.

    Raises KeyError for a study that is not there.
    """
    if (
        connection.execute(sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)).first()
        is None
    ):
        raise KeyError(f"there is no study {study_id}")
    chosen: sa.ColumnElement[bool] = TRIALS.c.trial_id > after
    if and_ids and len(and_ids) <= MOST_IDS:
        chosen = sa.or_(chosen, TRIALS.c.trial_id.in_(and_ids))
    elif and_ids:
        chosen = sa.true()
    chosen = sa.and_(TRIALS.c.study_id == study_id, chosen)
    if states is not None:
        chosen = sa.and_(chosen, TRIALS.c.state.in_(list(states)))
    trials = connection.execute(sa.select(TRIALS).where(chosen).order_by(TRIALS.c.trial_id)).all()
    if not trials:
        return []
    values = _values(connection, chosen)
    params = _params(connection, chosen)
    user = _attributes(connection, USER, chosen)
    system = _attributes(connection, SYSTEM, chosen)
    steps = _steps(connection, chosen)
    wanted = None if len(and_ids) <= MOST_IDS else set(and_ids)
    return [
        FrozenTrial(
            number=row.number,
            state=row.state,
            value=None,
            values=values.get(row.trial_id),
            datetime_start=_local(row.datetime_start),
            datetime_complete=_local(row.datetime_complete),
            params=params[row.trial_id][0] if row.trial_id in params else {},
            distributions=params[row.trial_id][1] if row.trial_id in params else {},
            user_attrs=user.get(row.trial_id, {}),
            system_attrs=system.get(row.trial_id, {}),
            intermediate_values=steps.get(row.trial_id, {}),
            trial_id=row.trial_id,
        )
        for row in trials
        if wanted is None or row.trial_id > after or row.trial_id in wanted
    ]


class Excerpt(NamedTuple):
    """A trial, with no more of it than some of its user attributes."""

    id: int
    number: int
    user_attrs: dict[str, Any]


def read_attributes(
    connection: sa.Connection, study_id: int, names: Collection[str], states: Collection[TrialState]
) -> list[Excerpt]:
    """Return the trials of a study, by number, that have one of the named user attributes; only these."""
    query = (
        sa.select(TRIALS.c.trial_id, TRIALS.c.number, USER.c.key, USER.c.value_json)
        .join(USER, TRIALS.c.trial_id == USER.c.trial_id)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state.in_(list(states)), USER.c.key.in_(list(names)))
    )
    found: dict[int, Excerpt] = {}
    for trial_id, number, key, text in connection.execute(query):
        if number not in found:
            found[number] = Excerpt(trial_id, number, {})
        found[number].user_attrs[key] = json.loads(text)
    return [found[number] for number in sorted(found)]


def _of_trials(
    connection: sa.Connection, table: Any, chosen: sa.ColumnElement[bool], *columns: Any
) -> Iterable[Any]:
    query = sa.select(table.c.trial_id, *columns).join(TRIALS, TRIALS.c.trial_id == table.c.trial_id)
    return connection.execute(query.where(chosen))


def _values(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> dict[int, list[float]]:
    rows = _of_trials(connection, VALUES, chosen, VALUES.c.objective, VALUES.c.value, VALUES.c.value_type)
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for trial, objective, value, kind in rows:
        found[trial][objective] = TrialValueModel.stored_repr_to_value(value, kind)
    return {trial: [of[objective] for objective in sorted(of)] for trial, of in found.items()}


def _params(
    connection: sa.Connection, chosen: sa.ColumnElement[bool]
) -> dict[int, tuple[dict[str, Any], dict[str, BaseDistribution]]]:
    columns = (PARAMS.c.param_id, PARAMS.c.param_name, PARAMS.c.param_value, PARAMS.c.distribution_json)
    rows = sorted(_of_trials(connection, PARAMS, chosen, *columns), key=lambda row: row[1])
    found: dict[int, tuple[dict[str, Any], dict[str, BaseDistribution]]] = defaultdict(lambda: ({}, {}))
    for trial, _, name, value, text in rows:
        distribution = _distribution(text)
        params, distributions = found[trial]
        params[name] = distribution.to_external_repr(value)
        distributions[name] = distribution
    return found


def _attributes(
    connection: sa.Connection, table: Any, chosen: sa.ColumnElement[bool]
) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, key, text in _of_trials(connection, table, chosen, table.c.key, table.c.value_json):
        found[trial][key] = json.loads(text)
    return found


def _steps(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> dict[int, dict[int, float]]:
    columns = (STEPS.c.step, STEPS.c.intermediate_value, STEPS.c.intermediate_value_type)
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for trial, step, value, kind in _of_trials(connection, STEPS, chosen, *columns):
        found[trial][step] = TrialIntermediateValueModel.stored_repr_to_intermediate_value(value, kind)
    return found


def _local(utc: datetime | None) -> datetime | None:
    """Optuna stores UTC and shows local time, both without a zone."""
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


# ---- writing ------------------------------------------------------------------------------------


def insert(connection: sa.Connection, study_id: int, trials: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
    """Add trials as they are to a study; return their ids and numbers. Times are the database's own."""
    if not trials:
        return []
    # Numbers are counted under the lock that Optuna takes, too; on SQLite a transaction has all of it.
    locked = sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update()
    if connection.execute(locked).first() is None:
        raise KeyError(f"there is no study {study_id}")
    highest = sa.select(sa.func.max(TRIALS.c.number)).where(TRIALS.c.study_id == study_id)
    last = connection.execute(highest).scalar()
    first = 0 if last is None else last + 1
    now = _utc()
    rows = [
        {
            "study_id": study_id,
            "number": first + index,
            "state": trial.state,
            "datetime_start": now,
            "datetime_complete": now if trial.state.is_finished() else None,
        }
        for index, trial in enumerate(trials)
    ]
    statement = sa.insert(TRIALS).returning(TRIALS.c.trial_id, sort_by_parameter_order=True)
    ids = list(connection.execute(statement, rows).scalars())
    _insert_params(connection, zip(ids, trials, strict=True))
    _insert_values(connection, [(i, t.values) for i, t in zip(ids, trials, strict=True) if t.values])
    for table, kind in ((USER, "user_attrs"), (SYSTEM, "system_attrs")):
        _insert_attributes(
            connection, table, [(i, getattr(t, kind)) for i, t in zip(ids, trials, strict=True)]
        )
    return [(trial_id, first + index) for index, trial_id in enumerate(ids)]


def complete(
    connection: sa.Connection,
    trial_id: int,
    values: Sequence[float] | None,
    user_attrs: Mapping[str, Any],
    system_attrs: Mapping[str, Any],
) -> bool:
    """End a running trial with its values, or as failed without; False when it has ended before."""
    ended = connection.execute(
        sa.update(TRIALS)
        .where(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.RUNNING)
        .values(
            state=TrialState.FAIL if values is None else TrialState.COMPLETE,
            datetime_complete=_utc(),
        )
    )
    if ended.rowcount != 1:
        return False
    if values is not None:
        connection.execute(sa.delete(VALUES).where(VALUES.c.trial_id == trial_id))
        _insert_values(connection, [(trial_id, values)])
    for table, attributes in ((USER, user_attrs), (SYSTEM, system_attrs)):
        if attributes:
            same = sa.and_(table.c.trial_id == trial_id, table.c.key.in_(list(attributes)))
            connection.execute(sa.delete(table).where(same))
            _insert_attributes(connection, table, [(trial_id, attributes)])
    return True


def _utc() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _insert_params(connection: sa.Connection, trials: Iterable[tuple[int, FrozenTrial]]) -> None:
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": _distribution_json(trial.distributions[name]),
        }
        for trial_id, trial in trials
        for name, value in trial.params.items()
    ]
    if rows:
        connection.execute(sa.insert(PARAMS), rows)


def _insert_values(connection: sa.Connection, trials: Iterable[tuple[int, Sequence[float]]]) -> None:
    rows = []
    for trial_id, values in trials:
        for objective, value in enumerate(values):
            stored, kind = TrialValueModel.value_to_stored_repr(value)
            rows.append({"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind})
    if rows:
        connection.execute(sa.insert(VALUES), rows)


def _insert_attributes(
    connection: sa.Connection, table: Any, trials: Iterable[tuple[int, Mapping[str, Any]]]
) -> None:
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for trial_id, attributes in trials
        for key, value in attributes.items()
    ]
    if rows:
        connection.execute(sa.insert(table), rows)
