"""Files as people have them, by the commands: checked, converted, with rows that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embrm.data import RowRules
from embrm.data.layouts import names
from embrm.data.texts import read_texts
from embrm.errors import DataError
from embrm.heads import load_model
from tests.cli.conftest import Result, write_lines

Run = Callable[..., Result]
FIT = ("--head", "linear", "--embedder", "hashing", "-o", "new")
FIELD = Path(__file__).parents[3] / "shared" / "field"


def write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))


def pairs(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(n)]


@pytest.fixture
def bad(workspace: Path) -> None:
    rows: list[Any] = pairs(20)
    for i in (3, 5, 7):
        rows[i]["rejected"] = rows[i]["chosen"]
    rows[9]["chosen"] = 3
    rows[11] = '{"prompt": \n'
    write("bad.jsonl", rows)


@pytest.mark.usefixtures("bad")
def test_all_bad_rows_are_named_in_one_run(embrm: Run) -> None:
    result = embrm("fit", "bad.jsonl", *FIT)
    assert result.code == 1
    assert "5 of 20 rows of bad.jsonl cannot be used: bad.jsonl line 12 is not valid JSON" in result.err
    assert "3 rows: bad.jsonl line 4: chosen equals rejected" in result.err
    assert "(likewise line 6, 8)" in result.err
    assert "bad.jsonl line 10: chosen must be text or a list of messages, got 3" in result.err
    assert "--on-bad-row skip leaves such rows out" in result.err
    assert not Path("new").exists()


@pytest.mark.usefixtures("bad")
def test_bad_rows_are_left_out_counted_and_kept_in_the_model(embrm: Run) -> None:
    result = embrm("fit", "bad.jsonl", *FIT, "--on-bad-row", "report=faults.jsonl")
    assert result.code == 0
    assert "5 of 20 rows of bad.jsonl were left out" in result.err
    assert "read as pairs: 20 rows, left_out: 5, equal_texts: 3" in result.out
    record = load_model("new").record["data"]
    assert (record["layout"], record["rows"], record["left_out"], record["pairs"]) == ("pairs", 20, 5, 15)
    assert "## Training data\n\n- layout: pairs\n- rows: 20\n- left out: 5\n" in Path("new/README.md").read_text()
    told = [json.loads(line) for line in Path("faults.jsonl").read_text().splitlines()]
    assert [row["place"] for row in told[1:]] == [f"bad.jsonl line {n}" for n in (4, 6, 8, 10)]
    assert embrm("fit", "bad.jsonl", *FIT, "--on-bad-row", "ignore").code == 2


def test_a_file_of_bad_rows_alone_stops_whatever_the_option(embrm: Run, workspace: Path) -> None:
    write("bad.jsonl", [{**row, "chosen": 1} for row in pairs(3)])
    result = embrm("fit", "bad.jsonl", *FIT, "--on-bad-row", "skip")
    assert (result.code, "3 of 3 rows of bad.jsonl cannot be used" in result.err) == (1, True)


def test_pairs_that_become_one_vector_are_left_out_and_named(embrm: Run, workspace: Path) -> None:
    rows = pairs(12)
    rows[4] = {"prompt": "word " * 9000, "chosen": "a", "rejected": "b"}
    write("long.jsonl", rows)
    found = embrm("fit", "long.jsonl", "--head", "linear", "-o", "new", "--embedder", "minilm", "--json").json
    assert found["pairs"] == 11
    assert found["record"]["data"]["became_equal"] == 1
    assert any("1 of 12 pairs of long.jsonl (line 5) have two texts" in warning for warning in found["warnings"])
    assert any("long_text=chunks" in warning for warning in found["warnings"])
    write("long.jsonl", rows[4:5])
    refused = embrm("fit", "long.jsonl", "--head", "linear", "-o", "other", "--embedder", "minilm")
    assert (refused.code, "they carry no preference" in refused.err) == (1, True)


def test_check_counts_what_is_odd_and_shows_what_heads_see(embrm: Run, workspace: Path) -> None:
    rows: list[Any] = [*pairs(3), pairs(1)[0], {"prompt": "p1", "chosen": "bad 1", "rejected": "good 1"}]
    write("odd.jsonl", [*rows, {"prompt": "q", "chosen": "a", "rejected": "a"}, {**pairs(9)[8], "tie": True}])
    found = embrm("data", "check", "odd.jsonl", "--embedder", "hashing", "--json").json
    assert (found["layout"], found["kind"]) == ("pairs", "pairs")
    expected = {"rows": 7, "left_out": 1, "pairs": 6, "prompts": 4, "texts": 12, "ties": 1, "repeated": 1}
    expected |= {"both_ways": 2, "equal_texts": 1, "without_prompt": 0, "cut_texts": 0, "become_equal": 0}
    assert found["counts"] == expected
    assert found["examples"][0] == ["p0\n\ngood 0", "p0\n\nbad 0"]
    assert found["label_noise"]["text"].startswith("label noise is not estimated: label noise needs pairs")
    pools = embrm("data", "check", "pools.jsonl", "--json").json
    assert (pools["layout"], pools["kind"], pools["label_noise"]) == ("pools", "pools", None)


def test_check_estimates_label_noise_and_says_what_it_assumes(embrm: Run, workspace: Path) -> None:
    rows = pairs(400)
    for row in rows[::5]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    write("flipped.jsonl", rows)
    result = embrm("data", "check", "flipped.jsonl", "--embedder", "hashing", "--json")
    noise = result.json["label_noise"]
    assert noise["rate"] == pytest.approx(0.2, abs=0.05)
    assert noise["low"] < 0.2 < noise["high"]
    assert "each label is flipped with one probability whatever the pair" in noise["text"]


def test_the_layouts_are_listed(embrm: Run) -> None:
    assert list(embrm("data", "layouts", "--json").json)[:-1] == names()
    assert '"human_ref_A"' in embrm("data", "layouts", "--examples").out


def test_ratings_are_converted(embrm: Run, workspace: Path) -> None:
    rated = [{"prompt": "p", "response": t, "helpfulness": r, "annotator": a} for t, r, a in (
        ("a", 4, "x"), ("b", 1, "x"), ("c", 3, "x"), ("a", 1, "y"), ("b", 2, "y"), ("c", 2, "y"))]  # fmt: skip
    write("rated.jsonl", rated)
    options = ("--pairs", "best", "--ties", "drop", "--min-gap", "1")
    done = embrm("convert", "rated.jsonl", "out.parquet", *options, "--json").json
    assert (done["kind"], done["written"], done["dropped_ties"]) == ("pairs", 1, 3)
    rows = read_texts("out.parquet").rows.values
    kept = [{k: row[k] for k in ("chosen", "rejected", "margin", "annotator")} for row in rows]
    assert kept == [{"chosen": "a", "rejected": "b", "margin": 3.0, "annotator": "x"}]
    pools = embrm("convert", "rated.jsonl", "-", "--to", "pools").out.splitlines()
    assert [json.loads(line)["gold"] for line in pools] == [[4.0, 1.0, 3.0], [1.0, 2.0, 2.0]]
    assert embrm("convert", "rated.jsonl", "-", "--min-gap", "-1").code == 2


def test_a_file_in_blocks_gives_the_same_model_scores_and_rows(embrm: Run, workspace: Path) -> None:
    fit = ("fit", "prefs.jsonl", "--head", "linear", "--embedder", "hashing")
    whole = embrm(*fit, "-o", "whole", "--json").json
    blocks = embrm(*fit, "-o", "blocks", "--stream", "--json").json
    assert {**whole, "model": None} == {**blocks, "model": None}
    assert embrm(*fit, "-o", "other", "--stream", "--features", "x.npy").code == 2
    scores = [embrm("score", "whole", "pools.jsonl", *more).out for more in ((), ("--stream",))]
    assert scores[0] == scores[1] != ""
    assert embrm("score", "whole", "pools.jsonl", "--stream", "--features", "x.npy").code == 2
    rows = [embrm("convert", "prefs.jsonl", "-", *more).out for more in ((), ("--stream",))]
    assert rows[0] == rows[1] != ""
    told = embrm("convert", "prefs.jsonl", "out.jsonl", "--stream", "--json").json
    assert (told["kind"], told["written"], told["rows"]) == ("pairs", 80, 80)
    assert embrm("convert", "prefs.jsonl", "out.parquet", "--stream").code == 2


def test_reference_texts_have_columns_of_their_own(embrm: Run, workspace: Path) -> None:
    lines = [json.loads(line) for line in Path("prefs.jsonl").read_text().splitlines()]
    names = {"prompt": "ask", "chosen": "winner", "rejected": "loser"}
    write("other.jsonl", [{theirs: row[ours] for ours, theirs in names.items()} for row in lines])
    how = ("--reference-columns", ",".join(f"{ours}={theirs}" for ours, theirs in names.items()))
    both = ("--columns", how[1])
    plain = embrm("detect", "model", "prefs.jsonl", "pools.jsonl", "--json")
    assert embrm("detect", "model", "other.jsonl", "pools.jsonl", "--json", *how).json == plain.json
    assert embrm("detect", "model", "other.jsonl", "pools.jsonl", *both).code == 2  # the pools have no such columns
    assert embrm("detect", "model", "other.jsonl", "other.jsonl", *both).code in (0, 3)
    rule = ("--selector", "penalised", "--penalty", "mahalanobis", "--reference")
    for command in ("select", "curve"):
        known = embrm(command, "model", "pools.jsonl", *rule, "prefs.jsonl")
        assert known.code == 0, known.err
        assert embrm(command, "model", "pools.jsonl", *rule, "other.jsonl", *how).out == known.out
    run = embrm("rl", "model", "-o", "run", *how)
    assert (run.code, "the policy 'grammar' has no --columns" in run.err) == (2, True)


def test_short_pools_are_left_out_of_curves_and_named(embrm: Run, workspace: Path) -> None:
    rows = [json.loads(line) for line in Path("pools.jsonl").read_text().splitlines()]
    rows[0] |= {"responses": rows[0]["responses"][:1], "gold": rows[0]["gold"][:1], "policy": ["p"]}
    rows[1] |= {"responses": rows[1]["responses"][:3], "gold": rows[1]["gold"][:3], "policy": [*"pqr"]}
    write("ragged.jsonl", rows)
    n = len(rows)
    for command in ("evaluate", "curve"):
        result = embrm(command, "model", "ragged.jsonl", "--json")
        assert result.code == 0, result.err
        found = result.json
        assert (found["prompts"], found["sizes"][-1]) == (n - 1, 3)
        assert any(f"1 of {n} pools have fewer than 2 responses" in warning for warning in found["warnings"])
        assert any(
            f"the curve ends at n = 3, the size of the smallest pools (1 of {n - 1}" in w for w in found["warnings"]
        )
        found = embrm(command, "model", "ragged.jsonl", "--sizes", "1,6", "--json").json
        assert (found["prompts"], found["sizes"]) == (n - 2, [1, 6])
        assert any(f"2 of {n} pools have fewer than 6 responses" in warning for warning in found["warnings"])


@pytest.mark.parametrize("name", ["f.npz", "f.pt"])
def test_other_files_of_vectors_are_named(name: str, embrm: Run, workspace: Path) -> None:
    Path(name).write_bytes(b"PK\x03\x04 an archive")
    result = embrm("evaluate", "model", "prefs.jsonl", "--features", name)
    assert (result.code, "save the one array" in result.err) == (1, True)


@pytest.mark.parametrize("index", [1.5, "x", True])
def test_an_index_that_is_no_whole_number_is_named(index: Any, embrm: Run, workspace: Path) -> None:
    write("scores.jsonl", [{"id": "q0", "index": index, "score": 1.0}])
    result = embrm("select", "scores.jsonl", "pools.jsonl")
    assert (result.code, "scores.jsonl line 1: index must be a whole number" in result.err) == (1, True)


CASES = {
    "01-prompt-str-and-whole-conversation": ("prefs.jsonl", 90),
    "10-shp": ("prefs.jsonl", 119),
    "13-llamafactory-sharegpt": ("prefs.jsonl", 125),
    "14-json-array": ("pretty.json", 160),
    "15-csv-utf16-bz2-xz": ("prefs.jsonl.xz", 160),
    "18-tool-calls": ("context.jsonl", 77),
    "22-prompt-under-another-name": ("question.jsonl", 160),
    "36-types-from-parquet": ("json_strings.parquet", 160),
}


@pytest.mark.skipif(not FIELD.exists(), reason="the files of others are not beside the repository")
@pytest.mark.filterwarnings("ignore:the columns score_")
@pytest.mark.parametrize("case", CASES)
def test_files_from_the_field_give_the_plain_texts(case: str) -> None:
    name, size = CASES[case]
    texts = read_texts(FIELD / case / name, kind="pairs")
    assert len(texts.rows) == size
    if case != "18-tool-calls":
        plain = read_texts(FIELD / "00-base" / "prefs.jsonl")
        assert (texts.prompts, texts.responses) == (plain.prompts[: 2 * size], plain.responses[: 2 * size])


TOLD = {
    "05-identical-pairs-in-a-real-file/prefs.jsonl": "4 of 160 rows .*line 4: chosen equals rejected.*line 41, 78, 121",
    "06-ultrafeedback-raw/prefs.jsonl": "several ratings .*choose one: --columns rating=overall_score",
    "07-helpsteer2-ratings/train.jsonl": "several ratings .*choose one: --columns rating=helpfulness",
    "20-margins-missing-nan-huge/huge.jsonl": "huge.jsonl line 6: margin must be a finite number, got 1000",
    "31-alpaca-eval-outputs/mtbench.jsonl": "answers of MT-Bench, whose questions are in another file; join both by",
}
READ = {
    "06-ultrafeedback-raw/prefs.jsonl": {"rating": "helpfulness"},
    "07-helpsteer2-ratings/train.jsonl": {"rating": "helpfulness"},
    "09-nectar-ranked-answers/prefs.jsonl": {},
    "13-llamafactory-sharegpt/only_keys.jsonl": {},
    "18-tool-calls/chosen_is_call.jsonl": {},
    "18-tool-calls/no_content_key.jsonl": {},
    "20-margins-missing-nan-huge/nan.jsonl": {},
    "22-prompt-under-another-name/swift.jsonl": {},
    "36-types-from-parquet/map_messages.parquet": {},
}


@pytest.mark.skipif(not FIELD.exists(), reason="the files of others are not beside the repository")
@pytest.mark.parametrize("name", TOLD)
def test_files_from_the_field_that_cannot_be_read_as_they_are_say_how(name: str) -> None:
    with pytest.raises(DataError, match=TOLD[name]):
        read_texts(FIELD / name, kind="pairs")


@pytest.mark.skipif(not FIELD.exists(), reason="the files of others are not beside the repository")
@pytest.mark.filterwarnings("ignore::embrm.data.ReadingWarning")
@pytest.mark.parametrize("name", READ)
def test_files_from_the_field_are_read_as_pairs_with_prompts(name: str) -> None:
    texts = read_texts(FIELD / name, kind="pairs", rules=RowRules(columns=READ[name]))
    assert len(texts.rows) >= 30
    assert all(texts.prompts)
    assert texts.account["left_out"] == 0


def test_converted_rows_keep_their_cluster(embrm: Callable[..., Result]) -> None:
    write_lines(Path("asked.jsonl"), [{"question": "a?", "chosen": "yes", "rejected": "no", "source": "talk"}])
    rated = {"instruction": "b?", "responses": ["so", "no"], "ratings": [2, 1], "source": "talk"}
    write_lines(Path("rated.jsonl"), [rated])
    for name in ("asked", "rated"):
        done = embrm("convert", f"{name}.jsonl", f"{name}-out.jsonl", "--columns", "cluster=source")
        assert done.code == 0, done.err
        rows = [json.loads(line) for line in Path(f"{name}-out.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [row["cluster"] for row in rows] == ["talk"]
