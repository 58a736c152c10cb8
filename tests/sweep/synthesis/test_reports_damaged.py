"""Damaged reports are refused, or give figures that they say: never another error, never a made-up zero."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import ReportError
from tests.sweep.synthesis.report_samples import Figures, Sample, cuts, damage, differences, own, wrongs

SAMPLES = {sample.name: (sample, sample.figures(), sample.important()) for sample in own()}
NAMES = sorted(SAMPLES)


def read(sample: Sample, text: str) -> Figures | None:
    """Return the figures of a damaged report, or None if it is refused in one line."""
    try:
        return sample.parse(text, sample.name)
    except ReportError as error:
        assert str(error).startswith(f"{sample.name}: ")
        assert "\n" not in str(error)
        return None


@pytest.mark.parametrize("name", NAMES)
def test_a_report_cut_after_any_line_gives_its_figures_or_none(name: str) -> None:
    sample, figures, _ = SAMPLES[name]
    for text in cuts(sample.text):
        assert read(sample, text) in (None, figures)


@pytest.mark.parametrize("name", NAMES)
def test_a_report_cut_within_a_line_gives_its_figures_or_none(name: str) -> None:
    sample, figures, _ = SAMPLES[name]
    for end in range(0, len(sample.text), 13):
        assert read(sample, sample.text[:end]) in (None, figures)


@pytest.mark.parametrize("name", NAMES)
def test_a_report_without_a_line_gives_its_figures_or_none(name: str) -> None:
    sample, figures, important = SAMPLES[name]
    lines = sample.text.split("\n")
    optional = {"state", "carry"}  # not in reports of all releases and parts
    for at in important:
        found = read(sample, "\n".join(lines[:at] + lines[at + 1 :]))
        if found is not None:
            changed = differences(figures, found)
            assert set(changed) <= optional
            assert all(new is None for _, new in changed.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_line_changes_nothing_or_is_refused(name: str) -> None:
    sample, figures, _ = SAMPLES[name]
    lines = sample.text.split("\n")
    for at in range(len(lines)):
        assert read(sample, "\n".join([*lines[: at + 1], *lines[at:]])) in (None, figures)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
def test_damaged_reports_say_what_is_read_from_them(name: str, seed: int) -> None:
    sample, figures, important = SAMPLES[name]
    text, done = damage(Random(seed), sample.text, important)
    found = read(sample, text)
    if found is not None:
        assert not wrongs(figures, found, text), done


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.text())
def test_any_text_is_refused(name: str, text: str) -> None:
    assert read(SAMPLES[name][0], text) is None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_text_within_a_report_is_refused_or_changes_nothing(name: str, data: st.DataObject) -> None:
    sample, figures, _ = SAMPLES[name]
    at = data.draw(st.integers(0, len(sample.text)))
    text = sample.text[:at] + data.draw(st.text(min_size=1)) + sample.text[at:]
    found = read(sample, text)
    if found is not None:
        assert not wrongs(figures, found, text)
