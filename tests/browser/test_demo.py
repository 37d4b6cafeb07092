"""The live page in a browser, on a phone and on a desk, with its server and as one file without."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import embedders
from embrm.demo import stages
from embrm.demo.setting import Seat
from embrm.demo.stage import WorldStage
from embrm.demo.static_page import DIMENSION, write_page
from tests.browser.chromium import FAINT, MARKS, SCREENS, Browser, barriers, element, opened, wait
from tests.small_demo import SIZE, running, small_stage

pytestmark = MARKS

# Controls that a screen reader has no name for, and those that a finger misses.
NAMELESS = """
const named = (n) => n.getAttribute("aria-label") || n.textContent.trim() || n.labels?.length;
return [...document.querySelectorAll("button, select, input, textarea, summary")]
  .filter((n) => n.checkVisibility() && !named(n)).map((n) => n.outerHTML.slice(0, 80));
"""
SMALL = """
return [...document.querySelectorAll("button, select, input, summary")].filter((n) => n.checkVisibility())
  .filter((n) => n.getBoundingClientRect().height < 24).map((n) => n.outerHTML.slice(0, 80));
"""
HIDDEN = """
const parts = [...document.querySelectorAll("#truth, .detectors, .alarmed, #revealed")];
return parts.filter((n) => n.checkVisibility()).length;
"""
BOX = """
const slider = document.getElementById("beta");
slider.scrollIntoView({block: "center"});
const box = slider.getBoundingClientRect();
return [box.left, box.width, box.top, box.height];
"""
SIDEWAYS = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def stage() -> WorldStage:
    return small_stage()


@pytest.fixture(scope="module")
def address(stage: WorldStage) -> Iterator[str]:
    with running(stage) as address:
        yield address


@pytest.fixture(params=SCREENS)
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    with opened(request.param, tmp_path / "profile") as driver:
        if request.param < 500:
            driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        yield driver


def open_page(browser: Browser, address: str, **state: Any) -> None:
    from urllib.parse import urlencode

    browser.get("about:blank")
    browser.get(f"{address}#{urlencode(state)}" if state else address)
    wait(browser, lambda: browser.execute_script("return document.body.dataset.answered"))


def run(browser: Browser, script: str, *arguments: Any) -> Any:
    return browser.execute_script(script, *arguments)


def more(browser: Browser, script: str, than: int) -> None:
    """Wait until a number of the page is larger."""
    wait(browser, lambda: run(browser, f"return {script}") > than)


def settled(browser: Browser) -> None:
    """Wait until what is written is what was judged."""
    wait(
        browser,
        lambda: run(browser, "return last !== null && last.response === at.response && last.prompt === at.prompt"),
    )


def value(browser: Browser, selector: str) -> float:
    return float(element(browser, selector).get_attribute("data-value"))


def check_silence(browser: Browser, address: str) -> None:
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert urls
    assert [url for url in urls if not url.startswith((address, "data:", "about:"))] == []


def test_edits_change_rewards_as_the_heads_say(browser: Browser, address: str, stage: WorldStage) -> None:
    open_page(browser, address, seats="linear:mean,linear:worst_case")
    before = value(browser, ".verdict .reward")
    for kind in ("flattery", "flattery", "wrong"):
        element(browser, f"[data-kind={kind}]").click()
    settled(browser)
    prompt, response = run(browser, "return [at.prompt, at.response]")
    for i, rule in enumerate(("mean", "worst_case")):
        said = stage.say(stage.usual, Seat("linear", rule), [(prompt, response)])[0]
        shown = f".verdict[data-seat='{i}']"
        assert value(browser, f"{shown} .reward") == pytest.approx(said["reward"], abs=1e-6)
        for name, told in said["detectors"].items():
            assert value(browser, f"{shown} [data-detector='{name}'] span") == pytest.approx(told["score"], abs=1e-6)
    assert value(browser, ".verdict .reward") != before
    assert value(browser, "#gold") == pytest.approx(stage.gold(prompt, response)["gold"])
    element(browser, "#response").send_keys(" <img src=x onerror=alert(1)> ‮ my own words")
    settled(browser)
    assert element(browser, "#gold").text == "unknown"
    assert (run(browser, SIDEWAYS), run(browser, NAMELESS), run(browser, SMALL)) == (0, [], [])
    check_silence(browser, address)


def test_the_address_holds_the_page(browser: Browser, address: str) -> None:
    state = {"tab": "optimise", "prompt": "<b>Mine?</b>", "response": "Écrit & <i>so</i>\n+ 100 %", "beta": "17"}
    how = {
        "seats": "linear:worst_case,linear:mean",
        "annotators": "confounded",
        "noise": "0.1",
        "pairs": "120",
        "theme": "dark",
    }
    open_page(browser, address, **state, **how)
    wait(browser, lambda: run(browser, "return document.body.dataset.point") == "17")
    element(browser, "#tab-write").click()
    settled(browser)
    held = run(browser, "return Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    assert held == {**state, **how, "tab": "write"}
    assert element(browser, "#response").get_attribute("value") == state["response"]
    assert element(browser, "#own-prompt").get_attribute("value") == state["prompt"]
    assert run(browser, FAINT) == []
    open_page(browser, address, beta="77", seats="x:y", annotators="nobody", tab="nowhere")
    assert run(browser, "return [at.beta, at.seats.length, at.setting.mechanism, at.tab]") == [0, 2, "biased", "write"]
    check_silence(browser, address)


def test_the_slider_moves_along_the_path(browser: Browser, address: str, stage: WorldStage) -> None:
    open_page(browser, address, seats="linear:mean")
    element(browser, "#tab-optimise").click()
    wait(browser, lambda: run(browser, "return document.body.dataset.point") == "0")
    samples = element(browser, "#samples").text
    view = stage.path(stage.usual, Seat("linear"))
    for _ in range(20):
        element(browser, "#beta").send_keys("\ue014")  # the right arrow
    wait(browser, lambda: run(browser, "return document.body.dataset.point") == "20")
    told = float(run(browser, "return document.body.dataset.gold"))
    assert told == pytest.approx(view.path.gold[20].mean(), abs=1e-6)
    assert element(browser, "#samples").text != samples
    reliable = run(browser, "return path.seats[0].rows.map((r) => r.reliable)")
    np.testing.assert_array_equal(reliable, view.path.reliable)
    assert len(run(browser, "return [...document.querySelectorAll('#chart .hatch')]")) == 1
    assert run(browser, "return document.querySelectorAll('#cloud .now').length") == 160
    if run(browser, "return innerWidth") < 500:
        box = run(browser, BOX)
        point = {"x": box[0] + 0.9 * box[1], "y": box[2] + box[3] / 2}
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        wait(browser, lambda: run(browser, "return at.beta") > 30)
    assert (run(browser, SIDEWAYS), run(browser, FAINT), run(browser, NAMELESS)) == (0, [], [])
    check_silence(browser, address)


def test_gold_is_hidden_until_the_reveal(browser: Browser, address: str) -> None:
    open_page(browser, address, seats="linear:mean")
    element(browser, "#tab-play").click()
    wait(browser, lambda: "10 edits left" in element(browser, "#edits-left").text)
    for kind in ["flattery"] * 4 + ["padding"] * 3 + ["overconfidence"] * 3:
        assert run(browser, HIDDEN) == 0
        steps = run(browser, "return game.steps.length")
        element(browser, f"[data-kind={kind}]").click()
        element(browser, "#submit").click()
        more(browser, "game.steps.length", steps)
    wait(browser, lambda: run(browser, "return document.getElementById('results')?.textContent"))
    assert run(browser, HIDDEN) > 3
    gold = run(browser, "return game.steps.map((s) => s.gold.gold)")
    assert gold[-1] < gold[0]
    assert len(gold) == 11
    element(browser, "#player").send_keys("<script>alert(1)</script>")
    element(browser, "#post").click()
    wait(browser, lambda: "<script>alert(1)</script>" in element(browser, "#results").text)
    assert (run(browser, SIDEWAYS), run(browser, FAINT), run(browser, NAMELESS)) == (0, [], [])
    check_silence(browser, address)


def test_keys_lead_through_the_page(browser: Browser, address: str) -> None:
    open_page(browser, address, seats="linear:mean", theme="light")
    element(browser, "#tab-write").send_keys("\ue014")
    assert run(browser, "return [at.tab, document.activeElement.id]") == ["optimise", "tab-optimise"]
    element(browser, "#tab-optimise").send_keys("d")
    element(browser, "#tab-optimise").send_keys("l")
    assert run(browser, "return {...document.documentElement.dataset}")["theme"] == "dark"
    assert run(browser, "return document.documentElement.dataset.size") == "large"
    assert (run(browser, SIDEWAYS), run(browser, FAINT)) == (0, [])
    element(browser, "#tab-optimise").send_keys("1")
    element(browser, "#response").send_keys("d")  # letters that are written do nothing else
    assert run(browser, "return [at.tab, document.documentElement.dataset.theme]") == ["write", "dark"]


def test_the_last_keystroke_is_what_is_shown(browser: Browser, address: str, stage: WorldStage) -> None:
    open_page(browser, address, seats="linear:mean")
    for i in range(12):
        element(browser, "#response").send_keys(f" and {i}")
    settled(browser)
    prompt, response = run(browser, "return [at.prompt, at.response]")
    assert response.endswith(" and 10 and 11")
    said = stage.say(stage.usual, Seat("linear"), [(prompt, response)])[0]
    assert value(browser, ".verdict .reward") == pytest.approx(said["reward"], abs=1e-6)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_meets_a_barrier(browser: Browser, address: str, tmp_path: Path, theme: str) -> None:
    write_page(tmp_path / "page.html", size=SIZE)
    for page in (address, (tmp_path / "page.html").as_uri()):
        for tab in ("write", "optimise", "play"):
            open_page(browser, page, seats="linear:mean,linear:worst_case", theme=theme, tab=tab)
            run(browser, "document.querySelectorAll('details').forEach((d) => (d.open = true))")
            assert (run(browser, SIDEWAYS), barriers(browser)) == (0, []), (page, tab)
            if tab == "play":
                element(browser, "[data-kind=flattery]").click()
                element(browser, "#submit").click()
                more(browser, "game.steps.length", 1)
                element(browser, "#reveal").click()
                wait(browser, lambda: run(browser, "return document.getElementById('results')?.textContent"))
                assert barriers(browser) == [], (page, "revealed")


@pytest.mark.parametrize(("name", "bound"), [("static", 60), ("minilm", 200)])
def test_an_edit_is_answered_at_once(name: str, bound: float, tmp_path: Path) -> None:
    """Milliseconds from the end of the pause after a keystroke to what is shown, of two heads of five members."""
    if (load := os.getloadavg()[0]) > (os.cpu_count() or 1) / 2:
        pytest.skip(f"at a load of {load:.1f} the clock tells of other work; see test_a_keystroke_costs_little")
    with running(stages.of_world(embedders.get(name)())) as address, opened(1440, tmp_path / "profile") as browser:
        open_page(browser, address)
        rounds: list[list[float]] = []
        for _ in range(3):  # what else the machine does can only add
            took = []
            for i in range(40):
                element(browser, "#response").send_keys(f" {i}")
                settled(browser)
                took.append(float(run(browser, "return document.body.dataset.milliseconds")))
            rounds.append([float(np.quantile(took, q)) for q in (0.5, 0.95)])
        print(f"{name}: median and p95 of each round in ms:", np.round(rounds, 1).tolist())
    assert min(p95 for _, p95 in rounds) < bound


def test_one_file_says_the_same_without_a_server(browser: Browser, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", size=SIZE)
    stage = small_stage(DIMENSION)
    address = (tmp_path / "page.html").as_uri()
    open_page(browser, address, seats="linear:mean,linear:worst_case")
    prompt = run(browser, "return at.prompt")
    odd = "Ein Satz mit Ümlauten, 漢字 und 𝒳; x_1 = 3.5! I'd <b>say</b>\tso…"
    for response in (run(browser, "return at.response"), odd, ""):
        run(
            browser,
            "at.response = arguments[0]; document.getElementById('response').value = at.response; refresh()",
            response,
        )
        settled(browser)
        for i, rule in enumerate(("mean", "worst_case")):
            said = stage.say(stage.usual, Seat("linear", rule), [(prompt, response)])[0]
            shown = run(browser, "return last.seats[arguments[0]]", i)
            for name in ("reward", "sd", "percentile"):
                assert shown[name] == pytest.approx(said[name], abs=1e-6 if name != "percentile" else 0.05)
            for name, told in shown["detectors"].items():
                assert told["score"] == pytest.approx(said["detectors"][name]["score"], abs=1e-5)
                assert told["p"] == pytest.approx(said["detectors"][name]["p"])
        gold = run(browser, "return last.gold")
        assert gold["gold"] == stage.gold(prompt, response)["gold"]
    element(browser, "#tab-optimise").click()
    run(browser, "const b = document.getElementById('beta'); b.value = 20; b.dispatchEvent(new Event('input'))")
    wait(browser, lambda: run(browser, "return document.body.dataset.point") == "20")
    view = stage.path(stage.usual, Seat("linear"))
    assert float(run(browser, "return document.body.dataset.gold")) == pytest.approx(
        view.path.gold[20].mean(), abs=1e-6
    )
    assert (run(browser, SIDEWAYS), run(browser, NAMELESS)) == (0, [])
    check_silence(browser, "file:")
