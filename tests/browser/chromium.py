"""Headless Chromium as the browser tests use it: a page of a width, what was said and asked, and what is too faint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="the browser's tests need selenium")
BROWSER, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(not (BROWSER.exists() and DRIVER.exists()), reason="chromium and chromium-driver are absent"),
]
SCREENS = {390: 844, 1440: 900}  # a phone and a desk: width → height
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
Browser = Any

# Visible texts whose contrast to their background is below that of WCAG's level AA, with the ratio.
FAINT = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const behind = (node) => {
  for (let up = node; up; up = up.parentElement) {
    const colour = rgba(getComputedStyle(up).backgroundColor);
    if (colour[3] > 250) return colour;
  }
  return rgba("white");
};
const out = [];
for (const node of document.querySelectorAll("body *")) {
  if (node.closest("script, style, :disabled") || !node.checkVisibility({opacityProperty: true})) continue;
  if (![...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim())) continue;
  const style = getComputedStyle(node);
  const own = rgba(node instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(own), light(behind(node))].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) out.push([node.textContent.slice(0, 40), ratio]);
}
return out;
"""


@contextmanager
def opened(width: int, profile: Path) -> Iterator[Browser]:
    """Give a browser of a width, whose logs hold nothing of its own start."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    try:
        size = {"width": width, "height": SCREENS[width], "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.set_script_timeout(60)
        driver.get("about:blank")
        driver.get_log("performance")  # what the browser's own first page asked for
        yield driver
    finally:
        driver.quit()


def wait(browser: Browser, until: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: until())


def element(browser: Browser, selector: str) -> Any:
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, selector)


def dress(browser: Browser, scheme: str) -> None:
    """Ask for light or dark, as the system's setting does."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def barriers(browser: Browser) -> list[tuple[str, str]]:
    """Return what axe-core calls serious or critical on the page as it is shown: the rule, and the first place."""
    pytest.importorskip("axe_core_python", reason="pip install '.[dev]'")
    browser.execute_script((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then((r) => arguments[0](r.violations))")
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    return [(v["id"], v["nodes"][0]["html"][:120]) for v in grave]
