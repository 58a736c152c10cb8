"""Candidates measured again before they go on: what is on disk must be what the study recorded."""

from typing import Any

from optuna.trial import FrozenTrial

from objectives.costs.adder_graph import predict
from objectives.costs.rtl import load_logic
from objectives.data.dataset import Part
from objectives.measurement import BOOTSTRAPS, all_events, score_part
from sweep.artifacts.students import student_folder
from sweep.errors import StudyError
from sweep.study import Study


def test_scores(study: Study, trial: FrozenTrial, test: Part, rate_khz: float) -> dict[str, Any]:
    """Return the scores of a trial's saved student on the test part, as `sweep front --json` has them.

    Raises StudyError when they are not those that the trial recorded: then the saved student or the
    data are no longer what the study was made of.
    """
    about = trial.user_attrs
    logic = load_logic(student_folder(study, trial))
    others = [each["rate_khz"] for each in about["test"].get("at_other_rates", ())]
    found = score_part(test, predict(logic, all_events(test)), rate_khz, others, BOOTSTRAPS).as_json()
    # Older versions recorded no more than the efficiency at one rate.
    recorded = {"at_other_rates": [], "expected": found["expected"], **about["test"]}
    # All but the intervals: another NumPy may draw another bootstrap.
    differs = [name for name in found if name != "intervals" and found[name] != recorded.get(name)]
    if differs:
        raise StudyError(
            f"trial {trial.number}: the saved student scores otherwise on the test events than the study"
            f" recorded ({', '.join(differs)}); its data or its folder were changed"
        )
    return found
