"""The pages in a real, headless Chromium."""

import json
from typing import Any

import pytest

from dashboards.explorer.points import points_of
from dashboards.optuna_view.storage import StudyView
from sweep.front import front_of
from tests.dashboards.conftest import NASTY, SIGNAL, Example, Watched


def explore(watched: Watched, hash_: str = "") -> Any:
    watched.page.goto(f"/explorer/looked-at{hash_}")
    watched.page.wait_for_selector("html[data-ready]")
    return watched.page


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
            const trace = plot.data.find((t) => t.name === "front"), { xaxis, yaxis } = plot._fullLayout;
            const x = box.left + xaxis._offset + xaxis.d2p(trace.x[0]);
            return { x, y: box.top + yaxis._offset + yaxis.d2p(trace.y[0]), trial: trace.customdata[0][1] };
        }"""
    )
    opened.mouse.move(place["x"] - 3, place["y"])
    opened.mouse.move(place["x"], place["y"])
    opened.wait_for_timeout(200)
    opened.mouse.click(place["x"], place["y"])
    shown(opened, place["trial"])


def test_brushing_selects_in_both_figures_and_the_table(page: Watched) -> None:
    opened = explore(page)
    box = opened.locator("#front .nsewdrag").first.bounding_box()
    opened.mouse.move(box["x"] + 2, box["y"] + 2)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=8)
    opened.mouse.up()
    opened.wait_for_function("document.getElementById('table-title').textContent.startsWith('Selection: ')")
    assert opened.inner_text("#table-title") == "Selection: 6 students"
    # One value of a parameter leaves the students of one run.
    opened.evaluate(
        """() => {
            const plot = document.getElementById("parameters");
            const at = plot.data[0].dimensions.findIndex((one) => one.label === "student.hidden");
            return Plotly.restyle(plot, { [`dimensions[${at}].constraintrange`]: [[2.9, 3.1]] });
        }"""
    )
    opened.wait_for_function("!document.getElementById('table-title').textContent.includes('6')")
    assert opened.inner_text("#table-title") in ("Selection: 3 students", "Selection: 0 students")
    opened.click("#clear")
    opened.wait_for_function("document.getElementById('table-title').textContent.startsWith('Front: ')")


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
    opened.wait_for_function(
        "document.getElementById('front').data.some((t) => t.error_y?.array && t.error_y.array[0] > 0)"
    )
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
    drawn = opened.evaluate(
        "document.getElementById('front').data.reduce((n, t) => n + (t.customdata ? t.x.length : 0), 0)"
    )
    assert drawn == 10_200
    opened.select_option("#axis", "ff")
    opened.wait_for_function("document.getElementById('front').layout.xaxis.title.text.startsWith('FF')")
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
