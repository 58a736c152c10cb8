"""What a user says on the command line instead of a study file's promotion and synthesis sections."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from sweep.errors import StudyError
from sweep.search.space import explain
from sweep.study import Study
from sweep.study_file import Promotion, Synthesis


def with_options(study: Study, promotion: Mapping[str, Any], synthesis: Mapping[str, Any]) -> Study:
    """Return the study with what is given (not None) in place of what its file says.

    Limits and trials choose their policy. Nothing is written to the database. Raises StudyError for
    what the sections cannot be.
    """
    file = study.file
    # A list that may be given again and was not given is empty.
    said = {key: value for key, value in promotion.items() if value is not None and value != []}
    if "policy" not in said and "limits" in said:
        said["policy"] = "budget"
    if "policy" not in said and "trials" in said:
        said["policy"] = "named"
    known = file.promotion.model_dump(mode="json")
    if said.keys() & {"limits", "trials", "size"} or said.get("policy", known["policy"]) != known["policy"]:
        # Another choice than the file's: what belonged to the file's policy goes with it.
        known |= {"limits": (), "trials": (), "cost": None}
        if "policy" not in said and known["policy"] in ("budget", "named"):
            known["policy"] = "hypervolume"
    tool = {key: value for key, value in synthesis.items() if value is not None}
    base = file.synthesis.model_dump(mode="json")
    if tool.get("tool", file.synthesis.tool) != file.synthesis.tool:
        kept = ("timeout_s", "memory_gib", "calibration", *(() if tool["tool"] == "yosys" else ("stage",)))
        base = {key: base[key] for key in kept}
    try:
        update = {
            "promotion": Promotion.model_validate(known | said),
            "synthesis": Synthesis.model_validate(base | tool),
        }
    except ValidationError as invalid:
        error = invalid.errors()[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else part for part in error["loc"])
        said_of = f"{where}: {explain(error)}" if where else explain(error)
        raise StudyError(f"promotion of {study.name!r}: {said_of}") from None
    return replace(study, file=file.model_copy(update=update))
