"""`embrm claims` on a run's folder."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click import Context

from embrm.cli import embrm as group
from embrm.study.claims import differing, findings, names, read_expected
from embrm.study.metric import Metric
from embrm.study.results import Results
from tests import simulated_claims as simulated

Embrm = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "benchmarks" / "claims.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with fits of two heads that C15 compares."""
    return simulated.write_study(simulated.trial("C15", holds=True, number=0), tmp_path / "run")


def test_every_claim_has_a_line(embrm: Embrm, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = embrm("claims", str(folder))
    assert result.code == 0
    lines = {name: line for line in result.out.splitlines()[1:] for name in names() if f" {name} " in line}
    assert list(lines) == ["C1", "C15", "C17", "C19"]  # what ran, and nothing that a matrix could show
    (rest,) = (line for line in result.out.splitlines() if line.startswith("not run on world: "))
    others = [name for name in names() if name not in (*lines, "C21", "C29")]
    assert rest.partition(": ")[2].split(", ") == others
    assert lines["C15"].split()[0] == "supported"
    assert lines["C15"].endswith("supported: biased (path, best of n)")
    assert sorted(folder.rglob("*")) == before


def test_what_helps_comes_first(embrm: Embrm, tmp_path: Path) -> None:
    folder = simulated.write_study(simulated.trial("C21", holds=True, number=0), tmp_path / "run")
    first, heading, *lines = embrm("claims", str(folder)).out.splitlines()
    assert first == "world, path: gold of each defence minus the standard head's, in units of that one's gain"
    assert heading.split() == ["biased"]
    assert [line.split("  ")[0] for line in lines[:7]] == [
        *("worst case", "uncertainty weighting", "bottleneck", "latent penalty"),
        *("weight averaging", "Laplace", "BRME's mixture"),
    ]
    assert all("+0." in line and "helps" in line for line in lines[:7])
    assert lines[8].startswith("world, best of n: ")


def test_rows_are_unfolded_when_asked_for(embrm: Embrm, folder: Path) -> None:
    lines = [line for line in embrm("claims", str(folder), "--rows").out.splitlines() if " C15 " in line]
    assert [line.split()[0] for line in lines] == ["supported", "supported"]
    assert "biased (path)" in lines[0]
    assert f"{simulated.POOL_PROMPTS} × 5" in lines[1]


def test_reasons_are_printed_when_asked_for(embrm: Embrm, folder: Path) -> None:
    result = embrm("claims", str(folder), "--reasons")
    assert "world/C4/biased/path: Not run: world has no head titled 'inform'." in result.out
    assert "world/C21/biased/path/worst case: Not run: world has no head titled 'mlp x5'." in result.out
    assert "world/C15/biased/path: gold at 2 nats across embedders minus across seeds" in result.out


def test_programs_get_whole_findings(embrm: Embrm, folder: Path) -> None:
    found = {(f["id"], f["channel"]): f for f in embrm("claims", str(folder), "--json").json["findings"]}
    assert found["C15", "path"]["low"] > 0
    assert found["C15", "path"]["n"] == simulated.PATH_PROMPTS
    assert found["C15", "bon"]["mechanism"] == "biased"
    assert found["C4", "path"]["effect"] is None


def test_what_was_recorded_is_what_is_expected(embrm: Embrm, folder: Path, tmp_path: Path) -> None:
    expected = str(tmp_path / "expected.yaml")
    assert embrm("claims", str(folder), "--write-expected", expected).code == 0
    assert embrm("claims", str(folder), "--expect", expected).code == 0


def test_a_verdict_that_differs_fails_and_is_named(embrm: Embrm, folder: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.yaml"
    expected.write_text("C15: contradicted\n", encoding="utf-8")
    result = embrm("claims", str(folder), "--expect", str(expected))
    assert result.code == 1
    assert "differs: world/C15/biased/path is supported, expected was contradicted" in result.err
    result = embrm("claims", str(folder), "--expect", str(expected), "--json")
    assert result.code == 1
    assert len(result.json["differing"]) == 2


def test_a_claim_that_is_none_is_refused(embrm: Embrm, folder: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.yaml"
    expected.write_text("C51: supported\n", encoding="utf-8")
    result = embrm("claims", str(folder), "--expect", str(expected))
    assert result.code == 1
    assert "'C51', which is no claim of this run. Did you mean" in result.err


def test_a_workflow_gets_annotations(embrm: Embrm, folder: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.yaml"
    expected.write_text("C15/path: not supported\n", encoding="utf-8")
    result = embrm("claims", str(folder), "--expect", str(expected), "--output-format", "github")
    assert result.code == 1
    (line,) = [line for line in result.err.splitlines() if line.startswith("::")]
    assert line.startswith(
        "::error title=world/C15/biased/path::world/C15/biased/path is supported, expected was contra"
    )
    assert "25 %25 flips" in line  # a bare per cent sign would begin an escape


def test_a_folder_without_a_study_is_refused(embrm: Embrm, tmp_path: Path) -> None:
    result = embrm("claims", str(tmp_path))
    assert result.code == 1
    assert "holds no study" in result.err


@pytest.mark.slow
def test_the_tables_and_the_lines_go_between_their_marks(folder: Path, tmp_path: Path) -> None:
    page, readme, papers, kept = (tmp_path / name for name in ("claims.md", "README.md", "map.md", "runs"))
    papers.write_text("C15 (world stale), C99 (world stale)", encoding="utf-8")
    page.write_text("before\n<!-- claims -->\nstale\n<!-- /claims -->\nafter\n", encoding="utf-8")
    readme.write_text("before\n<!-- findings -->\nstale\n<!-- /findings -->\nafter\n", encoding="utf-8")
    places = {"--kept": kept, "--page": page, "--readme": readme, "--map": papers}
    script = [sys.executable, str(BENCHMARK), *(str(word) for place in places.items() for word in place)]

    def call(*args: str) -> str:
        return subprocess.run([*script, *args], capture_output=True, text=True, check=False).stderr

    assert "keeps no run; name the folder of a finished study" in call()
    found = findings(Results.load(folder))
    decided = sum(finding.holm not in ("inconclusive", "not run") for finding in found)
    for again in (False, True):  # from what was kept the same comes
        assert call(*([] if again else [str(folder), "--commit", "1234abc"])) == ""
        text = page.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- claims -->\n- Of a run of the configuration with the hash ")
        assert ", commit 1234abc: C" in text
        assert f"\n**world**: of {len(found)} rows {decided} are decided (" in text
        assert text.endswith("<!-- /claims -->\nafter\n")
        assert "stale" not in text
        claims = len({finding.id for finding in found if not finding.defence})  # the others stand in matrices
        assert len([line for line in text.splitlines() if line.startswith("| C")]) == claims + len(found)
        assert "| C15 | An ensemble across embedders beats one of equal size across seeds | supported |" in text
        assert "| 20 × 5 | supported | supported |" in text
        lines = readme.read_text(encoding="utf-8").splitlines()
        assert lines[:2] == ["before", "<!-- findings -->"]
        assert lines[2].startswith("- Of a run of the configuration with the hash ")
        assert lines[4].startswith("- **world**, rows by verdict: ")
        assert re.search(r"\d+ supported \((C\d+, )*C15", lines[4])
        assert lines[5:] == ["<!-- /findings -->", "after"]
        assert papers.read_text(encoding="utf-8") == "C15 (world supported), C99 (world stale)"
    assert call("--check") == ""
    readme.write_text(readme.read_text(encoding="utf-8").replace("supported", "proved"), encoding="utf-8")
    assert f"{readme}: not what {kept} says" in call("--check")
    readme.write_text("no marks", encoding="utf-8")
    assert "put the lines <!-- findings --> and <!-- /findings -->" in call()
    (record,) = kept.glob("*/run.json")
    record.write_text(record.read_text(encoding="utf-8").replace('"rows": "', '"rows": "0'), encoding="utf-8")
    assert "claims.json is not of the rows that run.json names" in call()


def test_the_pages_say_what_the_kept_runs_say() -> None:
    papers, readme, page = (ROOT / name for name in ("docs/map.md", "README.md", "docs/claims.md"))
    found = runpy.run_path(str(BENCHMARK))["pages"](ROOT / "docs" / "runs", page=page, readme=readme, papers=papers)
    for path, text in found.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `python benchmarks/claims.py`"


def test_the_workflow_s_commands_are_commands() -> None:
    workflow = yaml.safe_load((ROOT / "examples" / "ci" / "reproduce.yml").read_text(encoding="utf-8"))
    lines = [shlex.split(step["run"]) for step in workflow["jobs"]["study"]["steps"] if "run" in step]
    called = [words[1:] for words in lines if words[0] == "embrm"]
    assert [words[0] for words in called] == ["study", "claims"]
    for name, *args in called:
        command = group.get_command(Context(group), name)
        assert command is not None
        values = command.make_context(name, list(args)).params  # refuses unknown options
    assert values["run"] == called[0][-1]
    assert (ROOT / values["expect"]).is_file()


def test_the_workflow_s_controls_fail_where_nothing_is_hacked_and_where_too_much_is(tmp_path: Path) -> None:
    expected = read_expected(ROOT / "examples" / "ci" / "expected.yaml")
    hump, flat = (simulated.hump(2, loss) for loss in (0.6, 0.0))
    for biased, fair, failing in ((hump, flat, set()), (flat, flat, {"biased"}), (hump, hump, {"fair"})):
        gold = {
            ("mlp", Metric("path", "mean"), ("biased", 0.0)): biased,
            ("mlp", Metric("path", "mean"), simulated.FAIR): fair,
        }
        results = simulated.results(simulated.in_both_channels(gold), rng=np.random.default_rng(0))
        lines = differing(findings(results, draws=400), expected)
        assert {line.split("/")[2] for line in lines} == failing


def test_the_workflow_expects_verdicts_of_claims() -> None:
    assert {name.split("/")[0] for name in read_expected(ROOT / "examples" / "ci" / "expected.yaml")} <= set(names())
