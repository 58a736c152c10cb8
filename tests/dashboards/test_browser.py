"""The pages in a real, headless Chromium."""

import json
import time
from typing import Any

import pytest

from dashboards.explorer.points import points_of
from dashboards.optuna_view.storage import StudyView
from sweep.front import front_of
from tests.dashboards.conftest import NASTY, PATIENCE, SIGNAL, Example, Watched


def explore(watched: Watched, hash_: str = "") -> Any:
    watched.page.goto(f"/explorer/looked-at{hash_}")
    watched.page.wait_for_selector("html[data-ready]")
    return watched.page


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; Playwright's own way makes functions from text, and no page may."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never: {expression}"
        page.wait_for_timeout(50)


def shown(page: Any, trial: int) -> None:
    page.wait_for_selector(f"html[data-shown='{trial}']")


def many(view: StudyView, copies: int) -> dict[str, Any]:
    """Return the points of the example many times over, each somewhere else."""
    found: dict[str, Any] = points_of(front_of(view.study("looked-at")))
    before = len(found["trial"])

    def grown(value: Any, path: str = "") -> Any:
        if isinstance(value, dict):
            return {key: grown(inner, key) for key, inner in value.items()}
        if not isinstance(value, list) or len(value) != before or path in ("signals", "axes"):
            return [grown(v, path) for v in value] if path == "params" else value
        if path in ("lut", "ff", "mean_auc") and not isinstance(value[0], list):
            return [v * (1 + (i * 7919 % 5003) / 5003) for i in range(copies) for v in value]
        return [v for _ in range(copies) for v in value]

    found = {key: grown(value, key) for key, value in found.items()}
    found["trial"] = list(range(before * copies))
    found["on_front"] = [int(i % 97 == 0) for i in range(before * copies)]
    return found


# ---- the explorer -------------------------------------------------------------------------------


def test_the_front_is_drawn_and_a_student_opened_by_keyboard(page: Watched, example: Example) -> None:
    opened = explore(page)
    assert "6 measured students" in opened.inner_text("#summary")
    on_front = opened.locator("#table tbody tr").count()
    opened.focus("#front")
    for _ in range(on_front + 2):  # further than the front goes
        opened.keyboard.press("ArrowRight")
    opened.keyboard.press("Enter")
    dearest = int(opened.locator("#table tbody tr").last.locator("button").inner_text())
    shown(opened, dearest)
    panel = opened.inner_text("#student")
    assert f"Trial {dearest}" in panel
    assert f"sweep export looked-at {dearest} -o looked-at-{dearest}" in panel
    assert SIGNAL in panel, "markup in a name is text"
    assert opened.locator("#student b >> text=jets").count() == 0
    assert opened.locator("#roc .legendtext").all_text_contents() == [SIGNAL, "soup"]
    assert opened.locator("#scores .main-svg").count()
    assert opened.locator("#bars .bars .point").count() == 4
    assert opened.locator("#layers .plot").count() == 7, "input and weights of each, and places of dense 1"
    assert f"trial={dearest}" in opened.url
    opened.keyboard.press("Escape")
    assert opened.is_hidden("#student")
    assert "trial=" not in opened.url


def test_a_click_opens_the_student_below_it(page: Watched, example: Example) -> None:
    opened = explore(page)
    place = opened.evaluate(
        """() => {
            const plot = document.getElementById("front"), box = plot.getBoundingClientRect();
            const { xaxis, yaxis } = plot._fullLayout, i = data.on_front.indexOf(1);
            const cost = data.cost.current.lut[i], score = data.scores.validation.values.mean_auc[i];
            const x = box.left + xaxis._offset + xaxis.d2p(cost);
            return { x, y: box.top + yaxis._offset + yaxis.d2p(score), trial: data.trial[i] };
        }"""
    )
    opened.mouse.move(place["x"] - 3, place["y"])
    opened.mouse.move(place["x"], place["y"])
    opened.wait_for_selector("#tip:not([hidden])")
    assert opened.inner_text("#tip").startswith(f"trial {place['trial']} · run ")
    opened.mouse.click(place["x"], place["y"])
    shown(opened, place["trial"])


def test_brushing_selects_in_both_figures_and_the_table(page: Watched) -> None:
    opened = explore(page)
    box = opened.locator("#front .nsewdrag").first.bounding_box()
    opened.mouse.move(box["x"] + 2, box["y"] + 2)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=8)
    opened.mouse.up()
    until(opened, "document.getElementById('table-title').textContent.startsWith('Selection: ')")
    assert opened.inner_text("#table-title") == "Selection: 6 students"
    # The lower of two betas is that of one run.
    axis = opened.locator(".axis[data-key='training.beta.final']")
    axis.scroll_into_view_if_needed()
    place = axis.bounding_box()
    opened.mouse.move(place["x"] + place["width"] / 2, place["y"] - 4 + place["height"])
    opened.mouse.down()
    opened.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2, steps=4)
    opened.mouse.up()
    until(opened, "!document.getElementById('table-title').textContent.includes('6')")
    assert opened.inner_text("#table-title") == "Selection: 3 students"
    assert " selected" in axis.get_attribute("aria-label")
    opened.click("#clear")
    until(opened, "document.getElementById('table-title').textContent.startsWith('Front: ')")


def test_parameters_are_brushed_by_keyboard(page: Watched) -> None:
    opened = explore(page)
    opened.focus(".axis[data-key='training.beta.final']")
    opened.keyboard.press("ArrowUp")  # the lower end leaves the lower of two values
    until(opened, "document.getElementById('table-title').textContent === 'Selection: 3 students'")
    opened.keyboard.press("Delete")
    until(opened, "document.getElementById('table-title').textContent.startsWith('Front: ')")


def test_a_study_that_grows_keeps_what_was_selected(page: Watched, view: StudyView) -> None:
    opened = explore(page)
    opened.focus(".axis[data-key='cost']")
    for _ in range(10):
        opened.keyboard.press("ArrowUp")
    until(opened, "document.getElementById('table-title').textContent.startsWith('Selection: ')")
    before = opened.evaluate("data.trial.filter((_, i) => picked[i])")
    grown = many(view, 2)
    grown["cost"]["current"]["lut"][6:] = [v * 100 for v in grown["cost"]["current"]["lut"][6:]]
    grown["trial"][:6] = opened.evaluate("data.trial")
    grown["trial"][6:] = range(1000, 1006)
    opened.route("**/points", lambda route: route.fulfill(json=grown))
    opened.evaluate("lookAgain()")
    until(opened, "data.trial.length === 12")
    assert opened.evaluate("data.trial.filter((trial, i) => picked[i] && trial < 1000)") == before


def test_every_score_split_axis_and_source_can_be_drawn(page: Watched) -> None:
    opened = explore(page)
    for name in ("score", "split", "axis", "source"):
        values = opened.eval_on_selector_all(f"#{name} option", "all => all.map((one) => one.value)")
        for value in values:
            opened.select_option(f"#{name}", value)
    assert "hls" in opened.url
    assert opened.is_disabled("#intervals"), "an efficiency has none"
    opened.select_option("#score", "mean_auc")
    opened.check("#intervals")
    until(opened, "plane.intervals && plane.groups.front.every((i) => plane.intervals[i].length === 2)")
    assert opened.input_value("#split") == "test", "there are none of validation events"
    explore(page, "#score=worst_auc&split=test&axis=ff&trial=nonsense")
    chosen = {name: opened.input_value(f"#{name}") for name in ("score", "split", "axis")}
    assert chosen == {"score": "worst_auc", "split": "test", "axis": "ff"}


@pytest.mark.size(390, 800)
def test_a_phone_shows_it_all_without_scrolling_sideways(page: Watched, example: Example) -> None:
    opened = explore(page, f"#trial={example.points[0]}")
    shown(opened, example.points[0])
    assert opened.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert opened.locator("#front .main-svg").first.bounding_box()["width"] <= 390


def test_light_and_dark(page: Watched) -> None:
    page.page.emulate_media(color_scheme="dark")
    opened = explore(page)
    assert opened.get_attribute("html", "data-theme") == "dark"
    dark = opened.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    opened.click("#theme")
    assert opened.evaluate("getComputedStyle(document.documentElement).backgroundColor") != dark
    assert opened.evaluate("document.getElementById('front').layout.font.color") == "#1c2733"
    explore(page)
    assert opened.get_attribute("html", "data-theme") == "light", "what was chosen is kept"


def test_ten_thousand_points(page: Watched, view: StudyView) -> None:
    content = json.dumps(many(view, 1700))
    page.page.route("**/points", lambda route: route.fulfill(body=content, content_type="application/json"))
    opened = explore(page)
    assert "10,200 measured students" in opened.inner_text("#summary")
    assert (
        opened.evaluate(
            "plane.groups.front.length + plane.groups.measured.length + plane.groups.infeasible.length"
        )
        == 10_200
    )
    painted = "document.getElementById('students').getContext('2d').getImageData(0, 0, 1200, 500).data"
    assert opened.evaluate(f"{painted}.some((value) => value > 0)")
    opened.select_option("#axis", "ff")
    until(opened, "document.getElementById('front').layout.xaxis.title.text.startsWith('FF')")
    assert opened.locator("#table tbody tr").count() == 100


def test_a_server_that_is_gone_is_said(page: Watched) -> None:
    opened = explore(page)
    opened.route("**/points", lambda route: route.abort())
    opened.evaluate("lookAgain()")
    opened.wait_for_selector("#problem:not([hidden])")
    assert "does not answer" in opened.inner_text("#problem")
    page.problems.clear()  # the browser says so, too


def test_a_study_that_is_not_there_is_said(page: Watched) -> None:
    page.page.goto("/explorer/missing")
    page.page.wait_for_selector("#problem:not([hidden])")
    assert "is not in the database" in page.page.inner_text("#problem")
    page.problems.clear()  # the browser counts a 404 as an error


def test_a_study_without_a_student_says_how_it_stands(page: Watched, view: StudyView) -> None:
    empty = points_of(front_of(view.study("looked-at")))

    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(inner) for key, inner in value.items()}
        return [] if isinstance(value, list) and len(value) == len(empty["trial"]) else value

    content = {**emptied(empty), "params": [], "runs": {"failed": 1, "running": 2}}
    page.page.route("**/points", lambda route: route.fulfill(json=content))
    page.page.goto("/explorer/looked-at")
    page.page.wait_for_selector("#problem:not([hidden])")
    said = page.page.inner_text("#problem")
    assert "no measured student yet: 1 training run ended without one, 2 training runs under way" in said
    assert page.page.is_hidden("#explorer")


def test_all_studies_are_listed(page: Watched) -> None:
    page.page.goto("/explorer")
    page.page.wait_for_selector("#studies a")
    assert NASTY in page.page.inner_text("#studies")
    page.page.click("#studies a")
    page.page.wait_for_selector("html[data-ready]")


# ---- the Optuna dashboard -----------------------------------------------------------------------


def test_the_optuna_dashboard_shows_notes_figures_and_artifacts(page: Watched, example: Example) -> None:
    opened = page.page
    opened.goto("/dashboard")
    opened.wait_for_selector("text=looked-at")
    opened.goto("/dashboard/studies/1")
    opened.wait_for_selector("text=Hypervolume of the front against core time")
    for title in ("Front of looked-at", "Estimated against synthesized LUT", "Importance of parameters"):
        assert opened.locator(f"text={title}").count(), title
    opened.goto(f"/dashboard/studies/1/trials?numbers={example.points[0]}")
    opened.wait_for_selector("text=open in the explorer")
    assert opened.locator("td", has_text=SIGNAL).count()
    opened.wait_for_selector("text=student.zip")
    assert opened.locator("img[src*='/artifacts/']").count() == 2
    opened.goto("/dashboard/studies/1/trials?numbers=0")
    opened.wait_for_selector("text=No student came of it")
    assert "<script>hacked()</script>" in opened.inner_text("body")
    opened.goto("/dashboard/studies/1/note")
    opened.wait_for_selector("text=Explore the front")
    assert "<img src=x onerror=hacked()>" in opened.inner_text("body")
