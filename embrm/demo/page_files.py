"""The files of the page, as they are shipped."""

from __future__ import annotations

from importlib.resources import files


def page_part(name: str) -> str:
    """Return a file of the page."""
    return (files("embrm.demo") / "page" / name).read_text(encoding="utf-8")


def page_script(engine: str = "engine.js") -> str:
    """Return the page's script: an engine, which gives the numbers, and what shows them."""
    return "".join(page_part(name) for name in (engine, "charts.js", "page.js"))
