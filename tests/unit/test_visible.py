"""Names out of files, on a terminal, on a page and in a chart: nothing in them acts."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from embrm.core.visible import escaped, replaced
from embrm.report import figures
from embrm.report.study.page import page
from embrm.report.study.paper import drawn
from embrm.report.titles import drawable
from tests.simulated_study import findings, titled

MEMBERS = ("constructor", "toString", "valueOf", "__proto__", "hasOwnProperty")


def test_what_acts_on_a_terminal_is_written_out() -> None:
    text = "a\x1b[2J\x9b31m\x07\u202eb\tc\n\x00"
    assert escaped(text) == "a\\u001b[2J\\u009b31m\\u0007\\u202eb\tc\n\\u0000"
    assert json.loads(escaped(json.dumps({"id": text}, ensure_ascii=False))) == {"id": text}
    assert replaced(text) == "a\ufffd[2J\ufffd31m\ufffd\ufffdb\tc\n\ufffd"
    for plain in ("שלום עולם", "naïve 你好 🙂", "e\u0301\u200d\u200f"):
        assert escaped(plain) == replaced(plain) == plain


def test_names_that_every_object_has_are_others_for_charts() -> None:
    found = drawable({name: [name, 1, None, {"line": name}] for name in MEMBERS})
    assert list(found) == [f"{name}\u200b" for name in MEMBERS]
    assert found["constructor\u200b"] == ["constructor\u200b", 1, None, {"line": "constructor\u200b"}]
    assert drawable(("mlp", 0.5, True)) == ["mlp", 0.5, True]


@pytest.mark.slow
@pytest.mark.parametrize("title", ["constructor", "__proto__", "a\x00b\x1b[31m\u202ec", "<script>alert(1)</script>"])
def test_figures_are_drawn_whatever_a_head_is_called(title: str, tmp_path: Path) -> None:
    charts = drawn(titled("mlp", title))
    figures.save(charts["world-best-of-n"], tmp_path / "figure.svg")
    told = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert not re.search("[\x00\x1b\u202e]|<script", told)


@pytest.mark.slow
def test_a_page_runs_its_own_scripts_alone() -> None:
    text = page(titled("mlp", "a\x00b\u202e"), findings())
    assert not re.search("[\x00\x1b\u202e]", text)
    (policy,) = re.findall("script-src ([^;]*);", text)
    scripts = re.findall("<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == 2
    assert policy.split() == [
        *(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts),
        "'unsafe-eval'",
    ]
