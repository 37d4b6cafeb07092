"""The study's report in a browser: on a phone and on a desk, it answers to its controls and talks to nobody."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embrm.report import study
from tests.browser.chromium import FAINT, MARKS, SCREENS, Browser, barriers, dress, element, opened, wait
from tests.simulated_study import HOSTILE, findings, results, titled

pytestmark = MARKS

# Visible leaves with text, as boxes of the page; what scrolls or sticks is measured where it stands.
BOXES = """
const seen = (node) => node.checkVisibility({visibilityProperty: true, opacityProperty: true});
const own = (node) => [...node.childNodes].filter((c) => c.nodeType === 3 && c.textContent.trim());
const clip = (node, box) => {
  for (let up = node.parentElement; up; up = up.parentElement) {
    if (getComputedStyle(up).overflowX !== "visible" && up.tagName !== "HTML" && up.tagName !== "svg") {
      const b = up.getBoundingClientRect();
      box.l = Math.max(box.l, b.left);
      box.t = Math.max(box.t, b.top);
      box.r = Math.min(box.r, b.right);
      box.b = Math.min(box.b, b.bottom);
    }
  }
  return box;
};
const out = [];
for (const node of document.querySelectorAll("body *")) {
  if (node.closest("script, style, option, .scroll th:first-child, caption") || !seen(node)) continue;
  for (const text of node.tagName === "SELECT" ? [node] : own(node)) {
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const r of text === node ? [node.getBoundingClientRect()] : range.getClientRects()) {
      const b = clip(node, {l: r.left, t: r.top, r: r.right, b: r.bottom});
      const said = text.textContent.trim().slice(0, 30);
      if (b.r - b.l > 1 && b.b - b.t > 1) out.push([b.l, b.t + scrollY, b.r, b.b + scrollY, said]);
    }
  }
}
return out;
"""


# Texts of charts that reach over the chart's edge, where they would be cut off.
CUT = """
return [...document.querySelectorAll(".chart svg")].filter((svg) => svg.checkVisibility()).flatMap((svg) => {
  const box = svg.getBoundingClientRect();
  const over = (r) => r.width && (r.left < box.left - 1 || r.top < box.top - 1 || r.right > box.right + 1 ||
    r.bottom > box.bottom + 1);
  const texts = [...svg.querySelectorAll("text")].filter((text) => text.checkVisibility({opacityProperty: true}));
  return texts.filter((text) => over(text.getBoundingClientRect())).map((text) => text.textContent);
});
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.write(results(), tmp_path_factory.mktemp("study"), findings())


@pytest.fixture(params=SCREENS)
def browser(request: pytest.FixtureRequest, report: Path, tmp_path: Path) -> Iterator[Browser]:
    with visiting(report, request.param, tmp_path) as driver:
        yield driver


@pytest.fixture(params=SCREENS)
def folded(request: pytest.FixtureRequest, report: Path, tmp_path: Path) -> Iterator[Browser]:
    """Give a browser that shows the report as it opens."""
    with visiting(report, request.param, tmp_path, unfolded=False) as driver:
        yield driver


def unfold(driver: Browser) -> None:
    driver.execute_script("document.querySelectorAll('details.fold').forEach((node) => (node.open = true))")
    missing = "return [...document.querySelectorAll('.chart')].filter((c) => !c.querySelector('svg')).length"
    wait(driver, lambda: driver.execute_script(missing) == 0)
    wait(driver, lambda: drawn(driver, "gold", "mark-line"))
    wait(driver, lambda: drawn(driver, "run-gold", "mark-line"))


@contextmanager
def visiting(report: Path, width: int, tmp_path: Path, *, unfolded: bool = True) -> Iterator[Browser]:
    """Give a browser that shows the report, and check afterwards that it said and asked nothing."""
    with opened(width, tmp_path / "profile") as driver:
        driver.get(report.as_uri())
        wait(driver, lambda: driver.execute_script("return document.documentElement.dataset.ready"))
        if unfolded:
            unfold(driver)
        yield driver
        check_silence(driver)
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def check_silence(browser: Browser) -> None:
    """Nothing was said on the console, and nothing was asked of a host."""
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert urls  # the log is on: the page itself is in it
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


def overlaps(browser: Browser, *, least: int = 200) -> list[tuple[str, str]]:
    """Return the texts whose boxes share more than a sliver."""
    browser.execute_script("scrollTo(0, 0)")  # what sticks to the top covers what has passed below it
    found = browser.execute_script(BOXES)
    box, text = np.array([b[:4] for b in found]), [b[4] for b in found]
    assert len(box) > least
    width = np.minimum(box[:, None, 2], box[None, :, 2]) - np.maximum(box[:, None, 0], box[None, :, 0])
    height = np.minimum(box[:, None, 3], box[None, :, 3]) - np.maximum(box[:, None, 1], box[None, :, 1])
    # A line's box is taller than its letters: neighbours share up to a third of the line without touching.
    line = np.minimum(*np.meshgrid(box[:, 3] - box[:, 1], box[:, 3] - box[:, 1]))
    both = np.triu((width > 2) & (height > np.maximum(2, line / 3)), 1)
    return [(text[i], text[j]) for i, j in np.argwhere(both)]


def press(browser: Browser, selector: str, key: str) -> None:
    from selenium.webdriver.common.keys import Keys

    element(browser, selector).send_keys(getattr(Keys, key))


def choose(browser: Browser, selector: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(element(browser, selector)).select_by_visible_text(text)


def drawn(browser: Browser, chart: str, mark: str) -> int:
    """Return how many lines (or marks of another kind) a chart shows."""
    script = "return document.querySelectorAll(arguments[0]).length"
    return int(browser.execute_script(script, f"#{chart} g.{mark} path"))


def marker(browser: Browser) -> float:
    script = "return document.querySelector('#run-gold g.marker_marks line').getBoundingClientRect().left"
    return float(browser.execute_script(script))


def test_chart_and_answers_are_on_the_first_screen(folded: Browser) -> None:
    script = (
        "return [...document.querySelectorAll('#hero svg, #strip svg, .tile')].map((n) => n.getBoundingClientRect())"
    )
    boxes = folded.execute_script(script)
    width, height = folded.execute_script("return [innerWidth, innerHeight]")
    assert len(boxes) == 5
    assert all(0 <= b["left"] < b["right"] <= width and 0 <= b["top"] < b["bottom"] <= height for b in boxes)
    title = element(folded, "#title").text
    assert title == "The reward keeps rising. The true quality does not."
    assert [node.text for node in folded.find_elements("css selector", ".tile h2")] == [
        *("Hacked?", "Detected, at what false-alarm rate?", "What helps?"),
    ]
    assert drawn(folded, "hero", "mark-line") == 2  # proxy and gold
    # One alarm stands at one place of both charts.
    rule = "document.querySelector('#{} g.alarm_marks line, #{} g[class*=alarm] line').getBoundingClientRect().left"
    hero, strip = folded.execute_script(f"return [{', '.join(rule.format(c, c) for c in ('hero', 'strip'))}]")
    assert abs(hero - strip) < 1.5
    assert "threshold" in element(folded, "#strip").get_attribute("textContent")
    assert folded.execute_script(CUT) == []
    assert overlaps(folded, least=40) == []


def _has_lines(browser: Browser, *, count: int) -> bool:
    return bool(drawn(browser, "hero", "mark-line") == count)


def test_the_switch_changes_the_title_and_more_lines_replace_each_other(folded: Browser) -> None:
    choose(folded, "#head", "inform")
    assert "reward: inform" in element(folded, "#under").text
    element(folded, "#more-lines summary").click()
    for count in (3, 4, 5, 5):  # proxy, gold, and three at most
        element(folded, "#added button[aria-pressed=false]").click()
        wait(folded, partial(_has_lines, folded, count=count))
    folded.execute_script("document.querySelector('#switch button').click()")  # fair annotators
    wait(folded, lambda: "fair annotators" in element(folded, "#under").text)
    assert element(folded, "#title").text == "The reward rises, and the true quality with it."
    assert folded.execute_script("return document.activeElement.textContent") == "fair"


def test_the_address_brings_the_state_back(folded: Browser, tmp_path: Path) -> None:
    choose(folded, "#head", "inform")
    folded.execute_script("document.querySelector('#switch button').click()")
    folded.execute_script("document.querySelector('#fold-optimised').open = true")
    wait(folded, lambda: drawn(folded, "gold", "mark-line") == 5)
    folded.execute_script("document.querySelector('#added button').click()")
    choose(folded, "#lines", "selection rule: worst_case")
    address = folded.current_url
    state = "return [location.hash, title.textContent, under.textContent, document.querySelector('#lines').value]"
    before = folded.execute_script(state)
    folded.get("about:blank")
    folded.get(address)
    wait(folded, lambda: folded.execute_script("return document.documentElement.dataset.ready"))
    assert folded.execute_script(state) == before
    assert folded.execute_script("return document.querySelectorAll('#added [aria-pressed=true]').length") == 1
    folded.execute_script("location.hash = 'dataset=nowhere&head=none&add=nobody&line=nothing'")  # shows what there is
    wait(folded, lambda: drawn(folded, "hero", "mark-line") == 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_and_nobody_meets_a_barrier(browser: Browser, scheme: str) -> None:
    dress(browser, scheme)
    assert barriers(browser) == []
    assert browser.execute_script(FAINT) == []
    browser.execute_script("document.querySelector('#under').style.color = '#777777'")
    assert len(browser.execute_script(FAINT)) == 1  # the check sees what it looks for, in both


def test_the_slider_shows_another_step(browser: Browser) -> None:
    at, texts = marker(browser), element(browser, "#texts").text
    assert HOSTILE.split()[0] in texts
    assert "at step 0." in texts
    press(browser, "#step", "END")
    wait(browser, lambda: marker(browser) > at + 100)
    assert "at step 29." in element(browser, "#texts").text
    assert "step 29" in element(browser, "#now").text
    assert element(browser, "#step").get_attribute("aria-valuetext").startswith("step 29, proxy ")
    assert browser.execute_script("return document.querySelectorAll('#space g.texts_marks path').length") == 16
    choose(browser, "#run", "inform on world, biased, seed 0")
    wait(browser, lambda: "step 29" in element(browser, "#now").text)
    assert overlaps(browser) == []


def test_runs_are_overlaid_with_bands_over_their_seeds(browser: Browser) -> None:
    assert [drawn(browser, "all-gold", mark) for mark in ("mark-line", "mark-area")] == [2, 2]
    press(browser, "[data-legend=runs] button[data-line=mlp]", "SPACE")
    wait(browser, lambda: drawn(browser, "all-proxy", "mark-line") == 1)
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    wait(browser, lambda: browser.execute_script("return document.documentElement.dataset.ready"))
    wait(browser, lambda: drawn(browser, "all-gold", "mark-line") == 1)
    assert element(browser, "[data-legend=runs] button[data-line=mlp]").get_attribute("aria-pressed") == "false"


def test_the_legend_takes_a_line_away_and_brings_it_back(browser: Browser) -> None:
    button = "[data-legend=lines] button[data-line=mlp]"
    before = {chart: drawn(browser, chart, "mark-line") for chart in ("gold", "proxy", "best-of-n")}
    assert before["gold"] == 5  # four heads and the random choice, under the mean; the oracle is off
    assert "oracle" not in element(browser, "#gold").text
    press(browser, button, "SPACE")
    wait(browser, lambda: drawn(browser, "gold", "mark-line") == before["gold"] - 1)
    assert element(browser, button).get_attribute("aria-pressed") == "false"
    assert browser.execute_script("return document.activeElement.dataset.line") == "mlp"
    wait(browser, lambda: drawn(browser, "proxy", "mark-line") == before["proxy"] - 1)
    wait(browser, lambda: drawn(browser, "best-of-n", "mark-line") == before["best-of-n"] - 1)
    press(browser, button, "ENTER")
    wait(browser, lambda: drawn(browser, "gold", "mark-line") == before["gold"])


def test_selects_change_tables_and_curves(browser: Browser) -> None:
    def captions() -> list[str]:
        script = (
            "return [...document.querySelectorAll('[data-setting]:not([hidden]) caption')].map((c) => c.textContent)"
        )
        return list(browser.execute_script(script))

    assert all("world, 4\u202f000 pairs, biased, 25\u202f% label noise" in caption for caption in captions())
    choose(browser, "#flips", "0\u202f%")
    assert all("world, 4\u202f000 pairs, biased, 0\u202f% label noise" in caption for caption in captions())
    choose(browser, "#dataset", "answers")  # it has one mechanism: the nearest setting is taken
    assert all("answers, 4\u202f000 pairs, fair, 0\u202f% label noise" in caption for caption in captions())
    grey = "return [...document.querySelectorAll('#mechanism option')].filter((o) => o.disabled).map((o) => o.text)"
    assert browser.execute_script(grey) == ["biased"]
    choose(browser, "#lines", "head: inform")
    wait(browser, lambda: drawn(browser, "gold", "mark-line") == 5)  # four rules and the random choice
    assert "head: inform" in element(browser, "#fold-optimised .where").text
    assert browser.execute_script(CUT) == []
    assert overlaps(browser) == []


def test_the_page_fits_its_width_and_nothing_overlaps(browser: Browser, tmp_path: Path) -> None:
    sizes = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]
    assert browser.execute_script(CUT) == []
    assert overlaps(browser) == []
    browser.execute_script("document.querySelectorAll('details').forEach((node) => (node.open = true))")
    assert overlaps(browser) == []
    shot = tmp_path / "report.png"
    browser.save_screenshot(str(shot))
    assert colours(browser, shot) > 20


def test_the_checks_see_what_they_look_for(browser: Browser) -> None:
    browser.execute_script("document.querySelector('#gold svg text').setAttribute('transform', 'translate(-500, 0)')")
    assert browser.execute_script(CUT)
    browser.execute_script("document.querySelector('#answered').style.marginTop = '-6rem'")
    assert overlaps(browser)


def test_dark_and_print_change_the_paper(browser: Browser) -> None:
    def paper() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    dress(browser, "dark")
    assert paper() == "rgb(20, 21, 23)"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    assert paper() == "rgb(255, 255, 255)"
    assert not element(browser, ".setting").is_displayed()
    assert not element(browser, "#step").is_displayed()
    opened = "return document.querySelectorAll('details[open]').length"
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    folds = 8
    # every claim's reason, tuning, the configuration, and the other rewards' names
    assert browser.execute_script(opened) == folds + 8 + 3
    assert "Drop: " in element(browser, ".claims details p").text
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(opened) == folds


def colours(browser: Browser, file: Path) -> int:
    """Return how many colours a screenshot has; a blank one has a single one."""
    script = """
    const [data, done] = arguments, image = new Image();
    image.onload = () => {
      const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
      canvas.drawImage(image, 0, 0);
      done(new Set(new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer)).size);
    };
    image.src = "data:image/png;base64," + data;
    """
    return int(browser.execute_async_script(script, base64.b64encode(file.read_bytes()).decode()))


@pytest.mark.parametrize(
    "title",
    ["constructor", "toString", "valueOf", "__proto__", "a\x00b\x1b[31m\u202ec", "javascript:alert(1)", HOSTILE],
)
def test_a_head_may_be_called_anything(title: str, tmp_path: Path) -> None:
    from embrm.report.study.page import page

    report = tmp_path / "report.html"
    report.write_text(page(titled("mlp", title), findings()), encoding="utf-8")
    with visiting(report, 1440, tmp_path) as browser:
        assert drawn(browser, "gold", "mark-line") == 5
        element(browser, "[data-legend=lines] li:nth-child(2) button").click()
        wait(browser, lambda: drawn(browser, "gold", "mark-line") == 4)
        element(browser, "[data-legend=lines] li:nth-child(2) button").click()
        wait(browser, lambda: drawn(browser, "gold", "mark-line") == 5)
        with pytest.raises(Exception, match="no such alert"):
            _ = browser.switch_to.alert
