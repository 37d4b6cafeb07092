"""The site builds strictly, asks no other host for anything, and tells of every command, member and public name."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from embrm import detectors, embedders, heads, selectors
from embrm.cli import embrm as program
from tests.built_site import build

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow
# What a page loads by itself: scripts, styles, icons, pictures, frames. Anchors are for people.
LOADED = re.compile(r"<(?:script|img|iframe|source|video|audio)\b[^>]*?\ssrc=\"?([^\">\s]+)")
LINKED = re.compile(r"<link\b([^>]*)>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 35
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = LOADED.findall(text)
        for link in LINKED.findall(text):
            if not re.search(r'rel="?(canonical|prev|next)', link):
                loaded += re.findall(r'href="?([^">\s]+)', link)
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], page.name
        assert "api.github.com" not in text
        assert "mermaid" not in text  # the theme would fetch it
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_link_inside_the_site_leads_somewhere(site: Path) -> None:
    anchors = {
        page: set(re.findall(r'\sid="?([^">\s]+)', page.read_text(encoding="utf-8"))) for page in site.rglob("*.html")
    }
    wrong = []
    for page in anchors:
        for address in re.findall(r'<a\b[^>]*?\shref="?([^">\s]+)', page.read_text(encoding="utf-8")):
            path, _, anchor = unquote(html.unescape(address)).partition("#")
            if re.match(r"(https?|mailto):", path) or page.name == "404.html":
                continue
            target = (page.parent / path).resolve() if path not in ("", ".") else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (anchor and target in anchors and anchor not in anchors[target]):
                wrong.append((page.name, address))
    assert wrong == []


def test_every_command_and_option_is_told_of(site: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "commands.html").read_text(encoding="utf-8")))
    found = list(leaves(program, "embrm"))
    assert len(found) > 20
    for path, command in found:
        assert path in text
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in text, (path, option)


def leaves(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_member_and_every_name_of_embrm_has_a_heading(site: Path) -> None:
    for family in (heads, selectors, detectors, embedders):
        text = (site / "reference" / f"{family.__name__}.html").read_text(encoding="utf-8")
        for name in family.names():
            assert f'id="{family.__name__}.{name}' in text, name
        for name in set(family.__all__) - {
            "names",
            "get",
            "describe",
            "registry",
        }:  # the registry's, told of in a sentence
            assert f'id="{family.__name__}.{name}"' in text, name
    assert "InfoRM" in (site / "reference" / "embrm.heads.html").read_text(encoding="utf-8")


def test_the_lecture_is_a_page_and_a_notebook(site: Path) -> None:
    jupytext = pytest.importorskip("jupytext", reason="pip install '.[docs]'")
    book = jupytext.read(ROOT / "examples" / "04_lecture.py")
    kinds = [cell.cell_type for cell in book.cells]
    assert kinds == ["markdown", "code"] * 9
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "lecture.html").read_text(encoding="utf-8")))
    for cell in book.cells:
        first = cell.source.splitlines()[0].lstrip("# ")
        assert first in text
