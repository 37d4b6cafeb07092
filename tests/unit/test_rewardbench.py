"""RewardBench's rules against cases computed by hand, on files that the tests write."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from scipy.stats import binom

from embrm.errors import DataError
from embrm.integrations._bench import SECTIONS, outcome, parts_of
from embrm.integrations.rewardbench import bench_report, read_bench


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def first(subset: str, n: int) -> list[dict[str, Any]]:
    """Rows of version 1 whose texts are the rewards that the tests give them."""
    return [
        {"prompt": f"{subset} {i}", "chosen": "better", "rejected": "worse", "subset": subset, "id": i}
        for i in range(n)
    ]


def second(subset: str, *, chosen: int = 1, rejected: int = 3, name: str = "", prompt: str = "") -> dict[str, Any]:
    return {
        "id": name or subset,
        "prompt": prompt or f"{subset} {name}",
        "chosen": [f"right {i}" for i in range(chosen)],
        "rejected": [f"wrong {i}" for i in range(rejected)],
        "num_correct": chosen,
        "total_completions": chosen + rejected,
        "subset": subset,
    }


def test_the_sections_of_version_1_are_those_published() -> None:
    rows = {section: sum(subsets.values()) for section, subsets in SECTIONS.items()}
    # 2985 rows in all, of which math-prm has 447 and counts as 984.
    assert rows == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1968, "Prior Sets": 4}
    assert rows["Chat"] + rows["Chat Hard"] + rows["Safety"] + rows["Reasoning"] - 984 + 447 == 2985


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_version_1_by_hand(suffix: str, tmp_path: Path) -> None:
    data = [
        *first("alpacaeval-easy", 4),
        *first("mt-bench-med", 2),
        *first("llmbar-natural", 2),
        *first("donotanswer", 5),
        *first("math-prm", 4),
        *first("hep-python", 2),
    ]
    bench = read_bench(write(tmp_path / f"bench.{suffix}", data))
    assert (bench.version, len(bench), len(bench.texts)) == (1, 19, 38)
    # Right: 3 of 4 easy, 1 of 2 medium, 1 of 2 natural, 2 of 5, 1 of 4, 2 of 2. Equal rewards are not right.
    right = [*[1, 1, 1, 0], *[1, 0], *[1, 0], *[1, 1, 0, 0, 0], *[1, 0, 0, 0], *[1, 1]]
    reward = np.array([[2.0, 1.0] if r else [1.0, 2.0] for r in right])
    reward[7] = 1.0
    found = bench_report(bench, {"a": reward.ravel()}, seed=0)
    scores = {name: float(line.estimate) for name, line in found.scores["a"].items()}
    chat, hard, safety = (100 * 0.75 + 40 * 0.5) / 140, 0.5, 0.4
    reasoning = (984 * 0.25 + 164 * 1.0) / (984 + 164)
    want = {
        "overall": (chat + hard + safety + reasoning) / 4,
        "Chat": chat,
        "Chat Hard": hard,
        "Safety": safety,
        "Reasoning": reasoning,
        "alpacaeval-easy": 0.75,
        "mt-bench-med": 0.5,
        "llmbar-natural": 0.5,
        "donotanswer": 0.4,
        "math-prm": 0.25,
        "hep-python": 1.0,
    }
    assert list(scores) == list(want)
    np.testing.assert_allclose(list(scores.values()), list(want.values()), rtol=1e-12)
    assert "no rows of alpacaeval-hard, alpacaeval-length, hep-cpp" in found.notes[0]


def test_prior_sets_have_half_the_weight_and_other_subsets_none(tmp_path: Path) -> None:
    data = [*first("alpacaeval-easy", 2), *first("shp", 4), *first("summarize", 2), *first("mtbench_human", 2)]
    data[2]["prompt"] = [{"role": "user", "content": "How?"}]
    bench = read_bench(write(tmp_path / "bench.jsonl", data))
    assert bench.texts.prompts[4] == "How?"
    reward = np.array([[1, 0]] * 2 + [[1, 0], [0, 1], [0, 1], [0, 1]] + [[1, 0], [0, 1]] + [[0, 1]] * 2).ravel()
    found = bench_report(bench, {"a": reward}, seed=0)
    prior = (0.25 + 0.5) / 2
    np.testing.assert_allclose(found.scores["a"]["Prior Sets"].estimate, prior)
    np.testing.assert_allclose(found.scores["a"]["overall"].estimate, (1 + 0.5 * prior) / 1.5)
    assert "alpacaeval-length, anthropic_helpful, anthropic_hhh, donotanswer" in found.notes[0]
    assert found.notes[1] == "no section has the subsets mtbench_human; they do not count in the overall score"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_version_2_by_hand(suffix: str, tmp_path: Path) -> None:
    data = [
        second("Factuality", name="1"),
        second("Factuality", name="2"),
        second("Math", name="3"),
        second("Math", name="4"),
        second("Ties", name="ref:0", rejected=2),
        second("Ties", name="tied:0", chosen=3, rejected=2),
        second("Ties", name="ref:1", rejected=1),
        second("Ties", name="tied:1", chosen=2, rejected=1),
    ]
    bench = read_bench(write(tmp_path / f"bench.{suffix}", data))
    assert (bench.version, len(bench), bench.cluster.max() + 1) == (2, 8, 6)
    reward = [
        *[3, 1, 2, 0],  # right
        *[3, 3, 3, 0],  # shares the highest with two: 1/3
        *[3, 1, 2, 4],  # wrong
        *[9, 9, 1, 1],  # shares it with one: 1/2
        *[5, 3, 1],  # reference 0: margin 2
        *[8.0, 7.5, 7.0, 4, 4],  # tied 0: spread 1, margin 3; the smaller margin is 2
        *[1, 2],  # reference 1: wrong, margin -1
        *[6, 5, 4],  # tied 1: spread 1, margin 1: not above the spread
    ]
    found = bench_report(bench, {"a": reward}, seed=0)
    scores = {name: float(line.estimate) for name, line in found.scores["a"].items()}
    ties = (
        0.3 * 1 / 2
        + 0.3 * 2 / 2
        + 0.2 * 1 / 2
        + 0.2 * 1 / 2
        + 0.01 * (math.tanh(2 / 1 - 1) + math.tanh(-1 / 1 - 1)) / 2
    )
    want = {"overall": (2 / 3 + 1 / 4 + ties) / 3, "Factuality": 2 / 3, "Math": 1 / 4, "Ties": ties}
    assert list(scores) == list(want)
    np.testing.assert_allclose(list(scores.values()), list(want.values()), rtol=1e-12)
    assert found.notes == ("the scores are not those of the whole benchmark: no rows of Focus, Precise IF, Safety",)
    # A row is right as a whole where every chosen response is above every rejected one.
    np.testing.assert_array_equal(outcome(bench, reward).right, [1, 0, 0, 0, 1, 1, 0, 1])


@pytest.mark.parametrize(
    ("reference", "tied", "margin", "hard"),
    [
        ([3, 1], [2, 2, 0], 1.0, 1.0),  # equal right answers: tanh of infinity
        ([1, 3], [2, 2, 0], -1.0, 0.0),  # the same, and the reference is wrong
        ([3, 1], [2, 2, 2], 0.0, 0.0),  # nothing differs: 0 / 0 counts as 0
    ],
)
def test_ties_without_a_spread(
    reference: list[float], tied: list[float], margin: float, hard: float, tmp_path: Path
) -> None:
    data = [second("ties", name="ref:7", rejected=1), second("ties", name="tied:7", chosen=2, rejected=1)]
    bench = read_bench(write(tmp_path / "bench.jsonl", [*data, second("Focus")]))
    sums = outcome(bench, [*reference, *tied, 1, 0, 0, 0]).sums.sum(axis=0)
    value = dict(zip(parts_of(bench), np.divide(*sums.reshape(2, -1)), strict=True))
    assert value["ties: margin"] == margin
    assert value["ties: hard"] == hard


def test_ties_against_whole_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    questions, right, wrong = 60, 4, 3
    rows = []
    for i in range(questions):
        rows += [
            second("Ties", name=f"tied:{i}", chosen=right, rejected=wrong),
            second("Ties", name=f"ref:{i}", chosen=1, rejected=wrong),
        ]
    good, bad = rng.normal(2, 0.5, size=(questions, right)), rng.normal(size=(questions, wrong))
    one, others = rng.normal(2, 0.5, size=questions), rng.normal(size=(questions, wrong))
    reward = np.column_stack([good, bad, one, others]).ravel()
    order = rng.permutation(len(rows))
    parts = np.split(reward, np.cumsum([right + wrong, 1 + wrong] * questions)[:-1])
    bench = read_bench(write(tmp_path / "bench.jsonl", [rows[i] for i in order]))
    found = bench_report(bench, {"a": np.concatenate([parts[i] for i in order])}, seed=0, draws=10)
    gap, reference, spread = good.min(1) - bad.max(1), one - others.max(1), good.max(1) - good.min(1)
    hard = np.minimum(gap, reference)
    terms = [gap > 0, reference > 0, gap > spread, hard > spread, np.tanh(hard / spread - 1)]
    assert all(0.05 < np.mean(t) < 0.95 for t in terms[:4])
    want = np.dot([0.3, 0.3, 0.2, 0.2, 0.01], [np.mean(t) for t in terms])
    np.testing.assert_allclose(found.scores["a"]["Ties"].estimate, want, rtol=1e-12)


def test_a_question_with_one_row_counts_in_accuracy_alone(tmp_path: Path) -> None:
    data = [second("Ties", name="ref:1", rejected=1), second("Ties", name="tied:2", chosen=2, rejected=1)]
    bench = read_bench(write(tmp_path / "bench.jsonl", data))
    found = bench_report(bench, {"a": [1, 0, 3, 2, 1]}, seed=0)
    np.testing.assert_allclose(found.scores["a"]["Ties"].estimate, 0.6)
    assert "2 questions of Ties have only one of the rows ref and tied" in found.notes[1]


def test_rewards_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path / "bench.jsonl", first("donotanswer", 200)))
    rng = np.random.default_rng(0)
    base = rng.random(200) < 0.6
    other = base.copy()
    other[np.flatnonzero(~base)[:12]] = True  # 12 gained, 3 lost
    other[np.flatnonzero(base)[:3]] = False
    rewards = {name: np.where(right[:, None], [1.0, 0.0], [0.0, 1.0]).ravel() for name, right in
               {"base": base, "other": other, "same": base}.items()}  # fmt: skip
    found = bench_report(bench, rewards, seed=0)
    difference = found.differences["other"]
    assert (difference.gained, difference.lost) == (12, 3)
    np.testing.assert_allclose(difference.p_value, 2 * binom.cdf(3, 15, 0.5), rtol=1e-12)
    line = difference.scores["overall"]
    np.testing.assert_allclose(line.estimate, 9 / 200)
    # Against the binomial errors: paired 15 discordant rows, unpaired two independent shares.
    paired = math.sqrt(15 / 200 - (9 / 200) ** 2) / math.sqrt(200)
    np.testing.assert_allclose((line.high - line.low) / (2 * 1.96), paired, rtol=0.1)
    share = found.scores["base"]["overall"]
    np.testing.assert_allclose(
        (share.high - share.low) / (2 * 1.96), math.sqrt(base.mean() * (1 - base.mean()) / 200), rtol=0.1
    )
    same = found.differences["same"]
    assert (same.gained, same.lost, same.p_value) == (0, 0, 1.0)
    np.testing.assert_array_equal([same.scores["Safety"].low, same.scores["Safety"].high], 0)


def test_rows_of_a_prompt_are_resampled_together(tmp_path: Path) -> None:
    rows = first("donotanswer", 100)
    for i, row in enumerate(rows):
        row["prompt"] = f"prompt {i // 10}"
    bench = read_bench(write(tmp_path / "bench.jsonl", rows))
    right = np.repeat(np.arange(10) < 5, 10)
    found = bench_report(bench, {"a": np.where(right[:, None], [1.0, 0.0], [0.0, 1.0]).ravel()}, seed=0)
    assert found.prompts == 10
    line = found.scores["a"]["overall"]
    half = stats.t.ppf(0.975, 9) * 0.5 / math.sqrt(9)
    np.testing.assert_allclose((line.high - line.low) / 2, half, rtol=0.15)


def styles(domain: str) -> dict[str, Any]:
    """A row of RM-Bench."""
    levels = ("plain", "long", "rich")
    return {
        "id": domain,
        "prompt": f"{domain}?",
        "chosen": [f"right {level}" for level in levels],
        "rejected": [f"wrong {level}" for level in levels],
        "domain": domain,
    }


def test_rm_bench_by_hand(tmp_path: Path) -> None:
    data = [styles("chat"), styles("chat"), styles("math"), styles("safety-refuse"), styles("safety-response")]
    bench = read_bench(write(tmp_path / "bench.jsonl", data))
    assert (bench.name, bench.version, len(bench), len(bench.texts)) == ("RM-Bench", None, 5, 30)
    reward = [
        *[4, 5, 6, 1, 2, 3],  # all nine right
        *[1, 2, 3, 1.5, 2.5, 3.5],  # richer is better: 3 of 3 easy (2 > 1.5, 3 > 1.5, 3 > 2.5), no other
        *[3, 2, 1, 0, 2, 4],  # easy: 2 > 0, 1 > 0, 1 < 2; normal: 3 > 0, 2 = 2, 1 < 4; hard: 3 > 2, 3 < 4, 2 < 4
        *[1, 1, 1, 1, 1, 1],  # equal is not right
        *[9, 9, 9, 0, 0, 0],
    ]
    found = bench_report(bench, {"a": reward}, seed=0)
    assert (found.name, found.version) == ("RM-Bench", None)
    scores = {name: float(line.estimate) for name, line in found.scores["a"].items()}
    chat, math_, safety = (1.0, 0.5, 0.5), (2 / 3, 1 / 3, 1 / 3), (0.5, 0.5, 0.5)
    domains = {"chat": np.mean(chat), "math": np.mean(math_), "safety": np.mean(safety)}
    easy, normal, hard = np.mean([chat, math_, safety], axis=0)
    want = {"overall": np.mean(list(domains.values())), "easy": easy, "normal": normal, "hard": hard, **domains}
    assert list(scores)[:7] == list(want)
    np.testing.assert_allclose([scores[name] for name in want], list(want.values()), rtol=1e-12)
    assert (scores["chat: hard"], scores["safety-response: easy"], scores["safety-refuse: easy"]) == (0.5, 1, 0)
    assert found.notes == ("the scores are not those of the whole benchmark: no rows of code",)


def test_rm_bench_against_its_published_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bench = read_bench(write(tmp_path / "bench.jsonl", [styles("math") | {"prompt": f"{i}?"} for i in range(50)]))
    reward = rng.normal(size=(50, 2, 3)) + np.array([0.5, 0.0])[:, None]
    found = bench_report(bench, {"a": reward.ravel()}, seed=0, draws=10).scores["a"]
    share = (reward[:, 0, :, None] > reward[:, 1, None, :]).mean(axis=0)  # the matrix of the paper's Section 4
    np.testing.assert_allclose(found["hard"].estimate, np.triu(share, 1).sum() / 3, rtol=1e-12)
    np.testing.assert_allclose(found["normal"].estimate, np.diag(share).mean(), rtol=1e-12)
    np.testing.assert_allclose(found["easy"].estimate, np.tril(share, -1).sum() / 3, rtol=1e-12)


def judged(source: str, label: str) -> dict[str, Any]:
    """A row of JudgeBench."""
    return {
        "pair_id": source,
        "source": source,
        "question": f"{source} {label}?",
        "response_A": "first",
        "response_B": "second",
        "label": label,
    }


def test_judge_bench_by_hand(tmp_path: Path) -> None:
    data = [
        judged("mmlu-pro-law", "A>B"),
        judged("mmlu-pro-math", "B>A"),
        judged("mmlu-pro-math", "A>B"),
        judged("livebench-math", "B>A"),
        judged("another", "A>B"),
    ]
    bench = read_bench(write(tmp_path / "bench.jsonl", data))
    assert bench.name == "JudgeBench"
    assert bench.texts.responses[:4] == ["first", "second", "second", "first"]
    assert bench.texts.prompts[0] == "mmlu-pro-law A>B?"
    found = bench_report(bench, {"a": [2, 1, 2, 1, 1, 2, 1, 1, 5, 4]}, seed=0)
    scores = {name: float(line.estimate) for name, line in found.scores["a"].items()}
    assert scores == {
        "overall": pytest.approx(3 / 5),
        "Knowledge": pytest.approx(2 / 3),
        "Math": 0,
        "mmlu-pro-law": 1,
        "mmlu-pro-math": 0.5,
        "livebench-math": 0,
        "another": 1,
    }
    assert found.notes == (
        "the scores are not those of the whole benchmark: no rows of Reasoning, Coding",
        "no section has the subsets another; they count as rows in the overall score",
    )


CONVERSATION = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]


@pytest.mark.parametrize("chat", [True, False])
def test_prompts_that_are_the_beginning_of_both_conversations(chat: bool, tmp_path: Path) -> None:
    other = [CONVERSATION[0], {"role": "assistant", "content": "Never mind."}]
    row: dict[str, Any] = {"chosen": CONVERSATION, "rejected": other}
    if not chat:
        row = {"chosen": "\n\nHuman: How?\n\nAssistant: So.", "rejected": "\n\nHuman: How?\n\nAssistant: Never mind."}
    bench = read_bench(write(tmp_path / "bench.jsonl", [row]))
    assert bench.texts.responses == ["So.", "Never mind."]
    assert "How?" in bench.texts.prompts[0]
    assert "So." not in bench.texts.prompts[0]


@pytest.mark.parametrize("form", ["pairs", "lists"])
def test_rows_without_a_subset_are_all_of_one(form: str, tmp_path: Path) -> None:
    rows = first("", 4) if form == "pairs" else [second("", rejected=1, name=str(i)) for i in range(4)]
    for row in rows:
        del row["subset"]
    bench = read_bench(write(tmp_path / "bench.jsonl", rows))
    found = bench_report(bench, {"a": [1, 0, 1, 0, 1, 0, 0, 1]}, seed=0)
    assert {name: float(line.estimate) for name, line in found.scores["a"].items()} == {"overall": 0.75, "all": 0.75}
    assert found.notes == ("no row names its subset; the scores are those of all 4 rows",)
    assert found.name == ("RewardBench 1" if form == "pairs" else "RewardBench 2")


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no subset": (
        [*first("shp", 1), {"prompt": "a", "chosen": "b", "rejected": "c"}],
        "line 2 has no 'subset', and other rows have one; RewardBench's rows",
    ),
    "no chosen": ([{"prompt": "a", "rejected": "c"}], "line 1 has no 'chosen'; RewardBench's rows have prompt, chosen"),
    "no label": ([{"question": "a", "response_A": "b", "response_B": "c"}], "line 1 has no 'label'; RewardBench's"),
    "label": ([judged("a", "A=B")], "line 1: label must be A>B or B>A, got 'A=B'"),
    "styles": (
        [styles("math"), styles("math") | {"chosen": ["a", "b"]}],
        "line 2: chosen must hold 3 styles, plain to rich, as in RM-Bench; got 2",
    ),
    "another prompt": (
        [{"prompt": "x", "chosen": CONVERSATION, "rejected": CONVERSATION, "subset": "shp"}],
        "line 1: prompt is not how the conversations",
    ),
    "no prompt": ([{"chosen": "b", "rejected": "c", "subset": "shp"}], "line 1 has no 'prompt'"),
    "a number": ([{"prompt": 3, "chosen": "b", "rejected": "c", "subset": "shp"}], "prompt must be text or a list"),
    "two chosen": ([second("Math", chosen=2)], "a row outside Ties has one chosen response, got 2"),
    "no rejected": ([second("Math"), second("Math", rejected=0)], "line 2: rejected must be a list of at least one"),
    "mixed": (
        [second("Math"), *first("shp", 1)],
        "line 2: chosen must be a list of at least one text, as in the first",
    ),
    "id": ([second("Ties", name="3")], "a row of Ties has an id such as ref:3 or tied:3, got '3'"),
    "twice": ([second("Ties", name="ref:3"), second("Ties", name="ref:3")], "line 2: the id ref:3 was used before"),
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_are_not_rewardbench(name: str, tmp_path: Path) -> None:
    rows, message = BAD[name]
    path = write(tmp_path / "bench.jsonl", rows)
    with pytest.raises(DataError) as caught:
        read_bench(path)
    assert message in str(caught.value)


def test_bad_rewards(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path / "bench.jsonl", first("shp", 3)))
    with pytest.raises(DataError, match=r"rewards must be 6 finite numbers, one a text, got shape \(5,\)"):
        bench_report(bench, {"a": np.zeros(5)}, seed=0)
    with pytest.raises(DataError, match="rewards must be 6 finite numbers"):
        bench_report(bench, {"a": np.full(6, np.nan)}, seed=0)
    with pytest.raises(DataError, match="there is no reward to score"):
        bench_report(bench, {}, seed=0)
