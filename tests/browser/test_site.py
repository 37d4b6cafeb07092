"""The site's pages in a browser: they fit a phone and a desk, in light and dark, and nobody meets a barrier."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import MARKS, SCREENS, barriers, dress, opened
from tests.built_site import build

pytestmark = MARKS
PAGES = ("index", "start", "concepts/heads", "stress", "claims", "commands", "lecture", "reference/embrm.heads")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("width", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_meets_a_barrier(site: Path, width: int, scheme: str, tmp_path: Path) -> None:
    with opened(width, tmp_path / "profile") as browser:
        dress(browser, scheme)
        for page in PAGES:
            browser.get((site / f"{page}.html").as_uri())
            sideways = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert browser.execute_script(sideways) == 0, page
            assert barriers(browser) == [], page
