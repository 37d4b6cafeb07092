"""What the pages of docs/ show runs: their Python, their commands, and the figures that they are drawn with."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from embrm.cli import embrm as program
from embrm.cli import run
from embrm.study.metric import Metric
from embrm.study.results import Results

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
ELSEWHERE = {
    "extending.md",
    "stability.md",
}  # modules, which tests/test_docs.py and tests/test_repository.py run as such
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.name not in ELSEWHERE]


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's blocks of a language, those inside folded parts too."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def commands(page: Path, language: str) -> list[list[str]]:
    """Return the commands of embrm in a page's blocks; `sh` is run here, `shell` takes hours, a GPU or the network."""
    lines = [line for block in blocks(page, language) for line in block.splitlines()]
    return [shlex.split(line.partition(" > ")[0])[1:] for line in lines if line.startswith("embrm ")]


def with_any(language: str) -> list[Any]:
    return [pytest.param(page, id=page.stem) for page in PAGES if blocks(page, language)]


@pytest.fixture
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the pages name, so that what they write does not land in the real checkout."""
    shutil.copytree(ROOT / "data" / "answers", tmp_path / "data" / "answers")
    for name in ("prefs.jsonl", "pools.jsonl"):
        shutil.copy(ROOT / "data" / "answers" / name, tmp_path / name)
    prefs, pools = (
        [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        for name in ("prefs.jsonl", "pools.jsonl")
    )
    best = [sorted(zip(pool["gold"], pool["responses"], strict=True), reverse=True) for pool in pools]
    steps = [(f"{pair['chosen']} ", pair["rejected"]) for pair in prefs]
    made = {
        "votes": [{**pair, "annotator": "ab"[i % 2]} for i, pair in enumerate(prefs)],
        "more": prefs,
        "tuned": [{"prompt": pool["prompt"], "response": b[0][1]} for pool, b in zip(pools, best, strict=True)],
        "base": [{"prompt": pool["prompt"], "response": b[-1][1]} for pool, b in zip(pools, best, strict=True)],
        "traces": [
            {"prompt": pair["prompt"], "completions": list(said), "labels": [True, False]}
            for pair, said in zip(prefs, steps, strict=True)
        ],
    }
    for name, rows in {**made, "others": made["traces"]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("page", with_any("python"))
def test_the_python_of_a_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), scope)
        assert ("print(" in block) == bool(capsys.readouterr().out.strip())
    if page.name == "exercises.md":
        assert scope["accuracy"]["by hand"] > 0.55
        np.testing.assert_allclose(scope["by_hand"], scope["exact"], atol=1e-12)
        assert scope["peaks"][0.0][0] > scope["peaks"][1.0][0]
        assert scope["derivative"] == pytest.approx(scope["moments"](1.0)[1], abs=1e-6)
        assert scope["found"].low < 0 < scope["found"].high
        assert scope["verdict"].details["p_value"] <= 0.01
        assert scope["gained"] > 0.2


@pytest.mark.slow
@pytest.mark.usefixtures("_checkout")
@pytest.mark.parametrize("page", with_any("sh"))
def test_the_commands_of_a_page_run(page: Path) -> None:
    for arguments in commands(page, "sh"):
        assert run(arguments) in ((0, 3) if arguments[0] == "detect" else (0,)), arguments  # 3 is an alarm


@pytest.mark.parametrize("page", [*PAGES, DOCS / "extending.md", ROOT / "README.md"], ids=lambda page: page.stem)
def test_every_command_that_is_shown_is_one(page: Path) -> None:
    for arguments in [*commands(page, "sh"), *commands(page, "shell")]:
        command: click.Command | None = program
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.pop(0))
        assert command is not None
        command.make_context(page.stem, arguments)  # refuses options that it does not know


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"[\w/]+\.md", listed)
    here = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert sorted(named) == sorted([*here, "commands.md", "lecture.md"])


def test_every_concept_and_method_has_a_figure_in_two_lights() -> None:
    methods = ("steps", "annotators", "inverse", "stress", "principles", "self_training")
    for page in [*(DOCS / "concepts").glob("*.md"), *(DOCS / f"{name}.md" for name in methods)]:
        text = page.read_text(encoding="utf-8")
        shown = re.findall(r"!\[[^]]+\]\((\S+)-(light|dark)\.svg#only-(light|dark)\)", text)
        assert [(theme, only) for _, theme, only in shown] == [("light", "light"), ("dark", "dark")], page.name
        assert all((page.parent / f"{figure}-{theme}.svg").exists() for figure, theme, _ in shown)


def test_the_figures_are_what_the_script_draws(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(DOCS / "figures" / "draw.py"), str(tmp_path)], check=True)
    drawn = sorted(file.name for file in tmp_path.iterdir())
    assert drawn == sorted(file.name for file in (DOCS / "figures").iterdir() if file.suffix in (".svg", ".png"))
    for name in drawn:
        if name.endswith(".svg"):
            assert (tmp_path / name).read_text() == (DOCS / "figures" / name).read_text(), name


@pytest.mark.slow
def test_the_figures_show_what_is_measured(tmp_path: Path) -> None:
    shutil.copytree(DOCS / "figures", tmp_path / "figures")
    subprocess.run([sys.executable, str(tmp_path / "figures" / "measure.py")], check=True)
    new, old = (json.loads((at / "figures" / "measured.json").read_text()) for at in (tmp_path, DOCS))
    assert new.keys() == old.keys()
    for name, numbers in old.items():
        a, b = ([float(x) for x in re.findall(r"-?\d+\.\d+", json.dumps(found))] for found in (new[name], numbers))
        np.testing.assert_allclose(a, b, atol=0.1, err_msg=name)  # another processor rounds otherwise
    assert old["turning"]["proxy"] == sorted(old["turning"]["proxy"])
    assert old["turning"]["gold"][-1] < old["turning"]["gold"][0] < max(old["turning"]["gold"])


@pytest.mark.slow
def test_the_quick_study_shows_the_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "--config", "quick", "-o", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.strip().endswith(f"report: {tmp_path / 'run' / 'report.html'}")
    results = Results.load(tmp_path / "run")
    for row in results.select(kind="fit", head="mlp"):
        gold = row.arrays[Metric("path", "mean")].mean(axis=0)
        at = dict(zip((0, 2), gold[[0, (results.config.kl_points - 1) // 2]], strict=True))  # nats
        assert (at[2] < at[0] - 0.2) if row.cell.mechanism == "biased" else (at[2] > at[0] + 0.3)
