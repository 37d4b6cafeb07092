"""`embrm compare`: the table is the library's, in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import read_pairs
from embrm.embedders import get as get_embedder
from embrm.evaluation.compare import HeadComparison, compare_heads
from embrm.heads.linear import Linear
from embrm.heads.mlp import Mlp
from tests.cli.conftest import Result
from tests.unit.test_compare import PACK, ROOT, by_hand, ece, weight_of

Embrm = Callable[..., Result]
ARGUMENTS = (
    "--head",
    "mlp:epochs=3,hidden=[8]",
    "--embedder",
    "hashing",
    "--folds",
    "3",
    "--budget",
    "1",
    "--seed",
    "2",
)
MLP = ARGUMENTS[1]


@pytest.fixture
def expected(workspace: Path) -> HeadComparison:
    pairs = read_pairs("prefs.jsonl", embedder=get_embedder("hashing")())
    return compare_heads({"linear": Linear(), MLP: Mlp(epochs=3, hidden=(8,))}, pairs, folds=3, budget=1, seed=2)


def timeless(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without wall times."""
    lines = [{key: value for key, value in line.items() if key != "seconds"} for line in values["lines"]]
    return {**{key: values[key] for key in ("baseline", "pairs", "prompts", "folds", "failures")}, "lines": lines}


def rounded(value: object) -> str:
    number = float(value)  # type: ignore[arg-type]
    return f"{number if abs(number) > 1e-12 else 0.0:.3g}"


def test_the_text_has_the_numbers_of_the_library_by_rank(embrm: Embrm, expected: HeadComparison) -> None:
    done = embrm("compare", "prefs.jsonl", *ARGUMENTS)
    assert (done.code, done.err) == (0, "")  # nobody looks at a bar here
    read, about, header, *lines = done.out.splitlines()
    assert read == "read as pairs: 80 rows"
    assert about == "80 pairs of 40 prompts, 3 folds by prompt, 1 seed, 1 recipe tried for each fold"
    assert header.split()[:2] == ["rank", "head"]
    cells = [re.split(r"  +", line.strip()) for line in lines]
    assert [(row[0], row[1]) for row in cells] == [(str(i), n) for i, n in enumerate(expected.ranked, start=1)]
    for row in cells:
        line = expected.lines[row[1]]
        low, high = (rounded(x) for x in (line.accuracy.low, line.accuracy.high))
        assert row[2] == f"{rounded(line.accuracy.estimate)} ({low} … {high})"
        assert row[3:5] == [rounded(line.nll.estimate), rounded(line.ece.estimate)]
        assert ("–" in row[6:]) == (row[1] != MLP)
    ahead = expected.lines[MLP].ahead["nll"]
    (mine,) = (row for row in cells if row[1] == MLP)
    assert mine[8].startswith(f"{rounded(ahead.value.estimate)} (")
    assert mine[9] == rounded(ahead.holm)


def test_json_is_the_library_too(embrm: Embrm, expected: HeadComparison) -> None:
    done = embrm("compare", "prefs.jsonl", *ARGUMENTS, "--json", "-o", "table.json")
    assert timeless(done.json) == timeless(expected.as_dict())
    assert (done.json["file"], done.json["output"], done.json["warnings"]) == ("prefs.jsonl", "table.json", [])
    assert timeless(json.loads(Path("table.json").read_text(encoding="utf-8"))) == timeless(expected.as_dict())


def test_csv_has_a_number_a_cell(embrm: Embrm, expected: HeadComparison) -> None:
    assert embrm("compare", "prefs.jsonl", *ARGUMENTS, "-o", "table.csv").out.endswith("table: table.csv\n")
    rows = list(csv.DictReader(io.StringIO(Path("table.csv").read_text(encoding="utf-8"))))
    assert [row["head"] for row in rows] == expected.ranked
    for row in rows:
        line = expected.lines[row["head"]]
        assert float(row["accuracy"]) == float(line.accuracy.estimate)
        assert float(row["ece_high"]) == float(line.ece.high)
        assert (row["seconds"] == "") == (row["head"] in ("length", "random"))
        ahead = line.ahead.get("accuracy")
        assert row["accuracy_minus_first_p_holm"] == ("" if ahead is None else str(ahead.holm))


@pytest.mark.parametrize(("ending", "row"), [("md", r"\| 1 \| {} \|"), ("html", r"<td>1</td><td>{}</td>")])
def test_markdown_and_html_have_the_same_cells(ending: str, row: str, embrm: Embrm, expected: HeadComparison) -> None:
    assert embrm("compare", "prefs.jsonl", *ARGUMENTS, "-o", f"table.{ending}").code == 0
    text = Path(f"table.{ending}").read_text(encoding="utf-8")
    assert re.search(row.format(re.escape(expected.ranked[0])), text)
    separators = text.count("<tr>") if ending == "html" else text.count("\n| ") - 1
    assert separators == 1 + len(expected.lines)
    assert "80 pairs of 40 prompts" in text
    assert f"{rounded(expected.lines[MLP].ece.estimate)}" in text


def test_the_linear_head_comes_first_unless_it_is_there_or_unwanted(embrm: Embrm) -> None:
    quick = ("--embedder", "hashing", "--folds", "2", "--budget", "1", "--json")
    mlp, linear = "mlp:epochs=1,hidden=[4]", "linear:prior_precision=10"
    for words, baseline, heads in (
        (("--head", mlp), "linear", {"linear", mlp}),
        (("--head", mlp, "--no-linear"), mlp, {mlp}),
        (("--head", mlp, "--head", linear), mlp, {mlp, linear}),
    ):
        found = embrm("compare", "prefs.jsonl", *words, *quick).json
        assert found["baseline"] == baseline
        assert {line["head"] for line in found["lines"]} == heads | {"length", "random"}


def test_a_bar_is_shown_on_a_terminal_alone(embrm: Embrm, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ("compare", "prefs.jsonl", "--head", "linear", "--embedder", "hashing", "--folds", "2", "--budget", "1")
    assert embrm(*quick).err == ""
    real = type(sys.stderr)
    monkeypatch.setattr(real, "isatty", lambda self: True)
    assert "2/2" in embrm(*quick).err
    assert embrm(*quick, "--quiet").err == ""
    assert "2/2" in embrm(*quick).err  # asked for once, it is not kept


def test_a_head_that_fails_is_named_below_the_table(
    embrm: Embrm, expected: HeadComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embrm.errors import ConvergenceError

    def diverge(*_: object) -> None:
        raise ConvergenceError("it <was> told to")

    monkeypatch.setattr(Mlp, "fit_many", diverge)
    for name in ("table.md", "table.html"):
        done = embrm("compare", "prefs.jsonl", *ARGUMENTS, "-o", name)
        assert done.code == 0
        assert f"warning: {MLP} could not be fitted: " in done.err
    assert f"- {MLP} could not be fitted: " in Path("table.md").read_text(encoding="utf-8")
    assert "it &lt;was&gt; told to" in Path("table.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("source", [ROOT / "data" / "answers" / "prefs.jsonl", PACK / "pairs.jsonl.gz"], ids=str)
def test_the_table_on_shipped_answers_and_on_human_labels_is_that_by_hand(source: Path, embrm: Embrm) -> None:
    if not source.exists():
        pytest.skip(f"needs {source}, which is not part of the project")
    head = "linear:prior_precision=100.0"
    options = ("--folds", "3", "--budget", "1", "--embedder", "hashing", "--seed", "0")
    done = embrm("compare", str(source), "--head", head, *options, "-o", "table.csv")
    assert done.code == 0, done.err
    pairs = read_pairs(source, embedder=get_embedder("hashing")())
    expected = by_hand(Linear(prior_precision=100.0), pairs, folds=3, budget=1, seed=0)
    decided = np.ones(len(pairs), dtype=bool) if pairs.tie is None else ~pairs.tie
    weight = weight_of(pairs)
    row = next(
        r for r in csv.DictReader(io.StringIO(Path("table.csv").read_text(encoding="utf-8"))) if r["head"] == head
    )
    assert float(row["accuracy"]) == pytest.approx(np.average(expected["hit"][decided], weights=weight[decided]))
    assert float(row["nll"]) == pytest.approx(np.average(expected["nll"], weights=weight), rel=1e-4)
    assert float(row["ece"]) == pytest.approx(ece(expected["p"][decided], weight[decided]), abs=1e-4)
    printed = next(line for line in done.out.splitlines() if re.match(rf"\s*\d+\s+{re.escape(head)}", line))
    assert rounded(row["accuracy"]) in printed
    assert rounded(row["nll"]) in printed
