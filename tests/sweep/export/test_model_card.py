"""The card says what is known of a student, and nothing in it can be taken for markup."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from optuna.storages import RDBStorage

from objectives.recipe import Recipe
from sweep import home
from sweep.export.model_card import model_card, safe
from sweep.front import front_of
from sweep.study import create_or_resume

HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(1)) `a` <img src=x onerror=y>\n# head"


@pytest.fixture
def card(storage: RDBStorage, study_file: Callable, point: Callable, sweep_home: Path) -> str:
    study = create_or_resume(storage, study_file(description=HOSTILE))[0]
    synthesis = {"tool": "yosys", "version": HOSTILE, "stage": "synthesized", "lut": 3999, "ff": 1, "dsp": 2}
    study.optuna.add_trial(point(0.9, 4000.0, synthesis=[synthesis]))
    folder = home.students_folder(study.name) / "0-3-0123456789abcdef"
    folder.mkdir(parents=True)
    about = {"recipe": Recipe().model_dump(mode="json"), "versions": {"keras": "3.15.1"}}
    (folder / "student.json").write_text(json.dumps(about))
    front = front_of(study)
    return model_card(front, front.points[0], ("keras", "cmssw"))


def test_it_says_what_is_known(card: str) -> None:
    for said in (
        "# CICADA student 0 of hand-made",
        "| mean | 0.9000 | 0.6000 | 0.5800 to 0.6200 |",
        "| adder graph, estimated | 4,000 | 10 | 0 | 50 ns |",
        "| hls4ml, estimated | 40,000 |",
        "| 3,999 | 1 | 2 |",
        "| keras | 3.15.1 |",
        "| student.family | cicada-v2 |",
        "**cmssw**",
    ):
        assert said in card
    assert "**rtl**" not in card
    assert re.search(r"\| dataset \| `[0-9a-f]{16}`", card)


def test_nothing_in_it_is_markup(card: str) -> None:
    assert "<" not in card
    assert not re.search(r"(?<!\\)\[", card)
    assert card.count("\n# ") == 0
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in card.splitlines() if line.startswith("|")]
    assert set(columns) <= {3, 4, 5, 6}


@given(st.text())
@example(HOSTILE)
@example("1. a")
@example("a\\|b")
@example("\u2028- x")
def test_text_stays_text(text: str) -> None:
    line = safe(text)
    assert "\n" not in line
    assert "<" not in line
    assert ">" not in line
    assert not re.search(r"&(?!amp;|lt;|gt;)", line)
    assert not re.match(r"[#+\-=]|\d+[.)](\s|$)", line)
    # Every character that means something has an odd number of backslashes before it.
    for found in re.finditer(r"(\\*)([`*_\[\]!|~$])", line):
        assert len(found[1]) % 2 == 1
