"""`embrm select` and `embrm curve`: every rule, penalties, and saved scores in place of a model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import selectors
from tests.cli.conftest import Result, write_lines

Run = Callable[..., Result]


def chosen(result: Result) -> list[int]:
    assert result.code == 0, result.err
    return [row["index"] for row in result.json["rows"]]


def options_for(name: str) -> list[str]:
    of = {"penalised": "mahalanobis --reference prefs.jsonl", "imitation": "imitation --experts prefs.jsonl"}
    return ["--penalty", *of[name].split()] if name in of else []


@pytest.mark.parametrize("name", [name for name in selectors.names() if name != "robust"])
def test_every_rule_chooses(name: str, embrm: Run) -> None:
    assert len(chosen(embrm("select", "model", "pools.jsonl", "--selector", name, *options_for(name), "--json"))) == 20


@pytest.mark.parametrize("name", ["mean", "worst_case", "thompson"])
def test_saved_scores_choose_what_the_model_chooses(name: str, embrm: Run, workspace: Path) -> None:
    rule = ("pools.jsonl", "--selector", name, "--json")
    model = embrm("select", "model", *rule)
    rows = [json.loads(line) for line in Path("scores.jsonl").read_text().splitlines()]
    np.save("draws.npy", np.array([row["draws"] for row in rows]).T)
    (workspace / "model").rename(workspace / "gone")
    assert chosen(embrm("select", "scores.jsonl", *rule)) == chosen(model)
    assert chosen(embrm("select", "draws.npy", *rule)) == chosen(model)


def test_robust_works_on_scores_that_have_sigma(embrm: Run) -> None:
    rows = [json.loads(line) for line in Path("scores.jsonl").read_text().splitlines()]
    for row in rows:  # the first member is the surest, so it is the nominal one
        row["sigma"] = [0.1, 1.0, 1.0]
    write_lines(Path("sigma.jsonl"), rows)
    nominal = embrm(
        *("select", "sigma.jsonl", "pools.jsonl", "--selector", "robust", "--set", "robustness=0", "--json")
    )
    assert chosen(nominal) == chosen(embrm("select", "sigma.jsonl", "pools.jsonl", "--selector", "best", "--json"))


def test_a_penalty_of_a_file_is_subtracted(embrm: Run) -> None:
    penalty = np.full((20, 6), 1e6)
    penalty[:, 3] = 0
    np.save("penalty.npy", penalty.ravel())
    rule = ("select", "model", "pools.jsonl", "--selector", "penalised", "--penalty", "penalty.npy", "--json")
    assert chosen(embrm(*rule)) == [3] * 20
    off = embrm(*rule, "--set", "weight=0")
    assert chosen(off) == chosen(embrm("select", "model", "pools.jsonl", "--json"))


def test_the_penalty_s_classes_and_options_are_heard(embrm: Run) -> None:
    for name in ("pools", "prefs"):
        rows = [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]
        write_lines(Path(f"{name}.jsonl"), [{**row, "class": "ab"[i % 2]} for i, row in enumerate(rows)])
    base = ("select", "model", "pools.jsonl", "--selector", "penalised", "--penalty", "mahalanobis", "--json")
    usual = embrm(*base, "--reference", "prefs.jsonl")
    squared = embrm(*base, "--reference", "prefs.jsonl", "--penalty-set", "squared=true")
    assert [row["class"] for row in usual.json["rows"]] == ["a", "b"] * 10
    assert [row["value"] for row in usual.json["rows"]] != [row["value"] for row in squared.json["rows"]]


def test_rules_are_compared_on_one_pool(embrm: Run) -> None:
    rules = [
        word
        for name in ("mean", "poisson", "soft:temperature=0.5", "penalised:weight=2")
        for word in ("--selector", name)
    ]
    result = embrm("curve", "scores.jsonl", "pools.jsonl", *rules, *MBR, "--figure", "rules.svg", "--json")
    assert result.code == 0, result.err
    found = result.json
    assert list(found["lines"]) == [*rules[1::2], "oracle", "length", "random"]
    assert found["sizes"] == [1, 2, 4, 6]
    evaluated = embrm("evaluate", "model", "pools.jsonl", "--sizes", "1,2,4,6", "--json").json
    np.testing.assert_allclose(found["lines"]["mean"]["gold"]["estimate"], evaluated["reward"]["gold"]["estimate"])
    np.testing.assert_allclose(found["lines"]["mean"]["gain"]["low"], evaluated["gain"]["gold"]["low"])
    svg = Path("rules.svg").read_text()
    assert all(name in svg for name in ("poisson", "oracle", "length", "KL from the reference policy"))
    table = embrm("curve", "model", "pools.jsonl").out.splitlines()
    assert [line.split()[0] for line in table[2:]] == ["mean", "worst_case", "oracle", "length", "random"]


def test_thresholds_and_laws_are_told(embrm: Run) -> None:
    rules = ("--selector", "mean", "--selector", "poisson", "--selector", "thompson")
    words = ("curve", "model", "pools.jsonl", *rules, "--sizes", "1,2,3,4,6", "--threshold", "--fit")
    found = embrm(*words, "--json").json
    assert {name: line["strength"] for name, line in found["thresholds"].items()} == {
        "mean": "best",
        "poisson": "poisson",
    }
    assert list(found["laws"]) == ["mean", "poisson", "thompson"]
    law = found["laws"]["mean"]
    assert law["fitted"] == 4
    assert law["alpha"]["low"] <= law["alpha"]["estimate"] <= law["alpha"]["high"]
    forecast = law["forecast"]
    gap = forecast["predicted"]["estimate"] - forecast["observed"]["estimate"]
    assert forecast["error"]["estimate"] == pytest.approx(gap)
    gain = np.subtract(found["lines"]["mean"]["gold"]["estimate"], found["lines"]["random"]["gold"]["estimate"])
    assert forecast["observed"]["estimate"] == pytest.approx(gain[-1])
    text = embrm(*words)
    assert text.code == 0, text.err
    assert "strength" in text.out
    assert re.search(r"^poisson +rate ", text.out, flags=re.MULTILINE)
    assert "α, 95 %" in text.out
    plain = embrm(*words[:-2], "--json").json
    assert {"thresholds", "laws", "curves"}.isdisjoint(plain)


def test_gold_that_is_the_score_has_no_threshold(embrm: Run) -> None:
    rows = [json.loads(line) for line in Path("pools.jsonl").read_text().splitlines()]
    np.save("gold.npy", np.concatenate([row["gold"] for row in rows]))
    words = ("curve", "gold.npy", "pools.jsonl", "--threshold")
    assert embrm(*words, "--json").json["thresholds"] == {"mean": {"strength": "best", "at": None}}
    assert re.search(r"^mean +n +–$", embrm(*words).out, flags=re.MULTILINE)


def test_pools_of_unequal_size_are_compared_up_to_the_smallest(embrm: Run) -> None:
    rows = [json.loads(line) for line in Path("pools.jsonl").read_text().splitlines()]
    lists = ("responses", "gold", "policy")
    uneven = [{k: v[: 2 + i % 5] if k in lists else v for k, v in row.items()} for i, row in enumerate(rows)]
    write_lines(Path("uneven.jsonl"), uneven)
    assert embrm("curve", "model", "uneven.jsonl", "--json").json["sizes"] == [1, 2]
    assert len(chosen(embrm("select", "model", "uneven.jsonl", "--selector", "worst_case", "--json"))) == 20


def test_tied_scores_are_worth_a_random_response(embrm: Run) -> None:
    np.save("tied.npy", np.zeros(120))
    lines: dict[str, Any] = embrm("curve", "tied.npy", "pools.jsonl", "--json").json["lines"]
    np.testing.assert_allclose(lines["mean"]["gold"]["estimate"], lines["random"]["gold"]["estimate"])
    assert chosen(embrm("select", "tied.npy", "pools.jsonl", "--json")) == [0] * 20


MBR = ("--penalty", "mbr", "--embedder", "hashing")
SENSELESS = {
    "a penalty for a rule that takes none": (
        ("--selector", "worst_case", *MBR),
        2,
        r"no use: .*'worst_case', none takes",
    ),
    "no penalty for the rule that takes one": (("--selector", "penalised"), 2, r"'penalised' needs a penalty"),
    "a reference without a penalty": (("--reference", "prefs.jsonl"), 2, r"say how to penalise; give a --penalty too"),
    "a detector without a reference": (
        ("--selector", "penalised", "--penalty", "caution"),
        2,
        r"'caution' measures how far texts are from reference texts",
    ),
    "a set's detector": (
        ("--selector", "penalised", "--penalty", "csi", "--reference", "prefs.jsonl"),
        2,
        r"'csi' gives no row a score .*; take caution, mahalanobis, neighbours",
    ),
    "a misspelt penalty": (("--selector", "penalised", "--penalty", "cation"), 2, r"did you mean 'caution'"),
    "an option of no detector": (
        ("--selector", "penalised", *MBR, "--penalty-set", "squared=true"),
        2,
        r"--penalty-set sets options of a detector, and 'mbr' is none",
    ),
    "a rule that needs sigma": (("--selector", "robust"), 1, r"'robust' .* no sigma; use a head .* such as 'brme'"),
    "a misspelt rule": (("--selector", "worstcase"), 2, r"no selector named 'worstcase'\. Did you mean 'worst_case'"),
}


@pytest.mark.parametrize("case", SENSELESS)
@pytest.mark.parametrize("command", ["select", "curve"])
def test_senseless_combinations_are_refused(command: str, case: str, embrm: Run) -> None:
    words, code, message = SENSELESS[case]
    result = embrm(command, "model", "pools.jsonl", *words)
    assert (result.code, re.search(message, result.err) is not None, result.out) == (code, True, ""), result.err


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (
            ("select", "mean.jsonl", "pools.jsonl", "--selector", "worst_case"),
            1,
            r"compares several members .*members=5",
        ),
        (("select", "prefs.jsonl", "pools.jsonl"), 1, r"line 1 must have 'id' and 'score', as `embrm score` writes"),
        (("select", "short.npy", "pools.jsonl"), 1, r"of the 120 texts of pools\.jsonl, got shape \(1, 3\)"),
        (("select", "absent", "pools.jsonl"), 1, r"there is no file absent"),
        (
            (*("select", "scores.jsonl", "pools.jsonl", "--selector", "penalised"), *("--penalty", "mahalanobis")),
            2,
            r"give them as reference",
        ),
        (
            (
                *("select", "scores.jsonl", "pools.jsonl", "--selector", "penalised"),
                *("--penalty", "mahalanobis", "--reference", "prefs.jsonl"),
            ),
            2,
            r"scores\.jsonl holds scores and no model, so there are no latents",
        ),
        (("curve", "model", "pools.jsonl", "--sizes", "7"), 2, r"the smallest pool has 6 responses, .* best of 7"),
        (("curve", "model", "pools.jsonl", "--selector", "pessimistic"), 2, r"take pool='support'"),
        (("curve", "model", "pools.jsonl", "--fit", "--sizes", "1,2,4"), 2, r"forecasts another, got n = \[1, 2, 4\]"),
        (("curve", "model", "pools.jsonl", "--selector", "soft:temprature=1"), 2, r"Did you mean 'temperature'"),
        (("curve", "model", "prefs.jsonl"), 1, r"no column 'responses'"),
        (("curve", "model", "pools.jsonl", "--figure", "c.pdf"), 2, r"must end in \.svg or \.png"),
    ],
)
def test_bad_words_are_explained(command: tuple[str, ...], code: int, message: str, embrm: Run) -> None:
    assert embrm("score", "model", "pools.jsonl", "--no-draws", "-o", "mean.jsonl").code == 0
    np.save("short.npy", np.zeros(3))
    result = embrm(*command)
    assert (result.code, re.search(message, result.err) is not None) == (code, True), result.err
