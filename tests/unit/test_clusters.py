"""Prompts that belong together: how files say so, and where they are drawn together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm.core.data import Candidates, Features, Pairs
from embrm.core.results import Reward
from embrm.data.read import read_candidates, read_pairs
from embrm.errors import DataError, OptionError
from embrm.evaluation.compare import compare_heads
from embrm.evaluation.cross_validation import folds_of
from embrm.evaluation.label_noise import label_noise
from embrm.evaluation.pair_sums import apart
from embrm.evaluation.reports import PoolReport, pair_report, pool_report
from embrm.heads import get
from embrm.metrics.intervals import bootstrap
from embrm.study.config import DatasetConfig, parse
from embrm.study.datasets import open_dataset
from embrm.study.measures.fit import control
from embrm.study.metric import Metric
from embrm.study.results import Cell
from tests.small_study import on_pool

Write = Callable[[str, list[dict[str, Any]]], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, rows: list[dict[str, Any]]) -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


def pairs(n: int = 48, **more: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Return two pairs for each prompt."""
    rows = [{"prompt": f"q{i // 2}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(n)]
    return [row | {name: of(i) for name, of in more.items()} for i, row in enumerate(rows)]


def pools(n: int = 40, **more: Callable[[int], Any]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"id": str(i), "prompt": f"p{i}", "responses": [f"{i} {j} {'x' * j}" for j in range(6)]}
        | {"gold": rng.normal(size=6).tolist()}
        | {name: of(i) for name, of in more.items()}
        for i in range(n)
    ]


def test_a_column_says_which_prompts_belong_together(write: Write) -> None:
    found = read_pairs(write("a.jsonl", pairs(cluster=lambda i: f"c{i // 6}")), embedder="hashing")
    assert found.features.cluster is not None
    np.testing.assert_array_equal(found.features.cluster[found.chosen], np.arange(48) // 6)
    np.testing.assert_array_equal(found.features.cluster[found.rejected], np.arange(48) // 6)
    named = write("b.jsonl", pairs(source=lambda i: i // 6))
    assert read_pairs(named, embedder="hashing").features.cluster is None
    again = read_pairs(named, embedder="hashing", columns={"cluster": "source"}).features.cluster
    np.testing.assert_array_equal(again, found.features.cluster)
    of_pools = read_candidates(write("c.jsonl", pools(cluster=lambda i: i // 5)), embedder="hashing")
    np.testing.assert_array_equal(of_pools.features.cluster, np.repeat(np.arange(40) // 5, 6))


def test_a_split_keeps_clusters_together(write: Write) -> None:
    found = read_pairs(write("a.jsonl", pairs(cluster=lambda i: i // 6)), embedder="hashing")
    assert found.features.cluster is not None
    rest, held = found.split(0.25, seed=0)
    assert (len(rest), len(held)) == (36, 12)
    of = [set(found.features.cluster[part.chosen].tolist()) for part in (rest, held)]
    assert not of[0] & of[1]
    one = read_pairs(write("b.jsonl", pairs(cluster=lambda i: "all")), embedder="hashing")
    with pytest.raises(DataError, match="all pairs belong to one cluster of prompts, so they cannot be split"):
        one.split(0.25, seed=0)


def test_clusters_that_are_missing_or_at_odds_are_told(write: Write) -> None:
    some = pairs(cluster=lambda i: "c" if i < 40 else None)
    with pytest.raises(DataError, match=r"4 of 24 prompts of .*a\.jsonl have no cluster, the first in .*line 41; give"):
        read_pairs(write("a.jsonl", some), embedder="hashing")
    with pytest.raises(DataError, match=r"line 2: cluster is 'c1', but its prompt was in 'c0' before"):
        read_pairs(write("b.jsonl", pairs(cluster=lambda i: f"c{i}")), embedder="hashing")
    once = read_pairs(write("c.jsonl", pairs(cluster=lambda i: f"c{i // 4}" if i % 2 else None)), embedder="hashing")
    np.testing.assert_array_equal(once.features.cluster[once.chosen], np.arange(48) // 4)  # type: ignore[index]


def test_reports_draw_clusters() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(20), 2 * 5)
    level = np.repeat(rng.random(20), 5) < 0.5  # whole clusters are right or wrong
    prompt = np.repeat(np.arange(100), 2)
    of_rows = np.where(np.arange(200) % 2 == 0, np.repeat(level, 2), np.repeat(~level, 2))
    reward = Reward(of_rows[None].astype(float), "point")
    found = {}
    for name, of in (("alone", None), ("together", cluster)):
        features = Features({"joint": np.zeros((200, 1))}, prompt=prompt, cluster=of)
        made = Pairs(features, np.arange(0, 200, 2), np.arange(1, 200, 2))
        found[name] = pair_report(reward, made, seed=0).accuracy
    wide = bootstrap(level.astype(float), seed=0, cluster=np.repeat(np.arange(20), 5))
    assert float(found["together"].high - found["together"].low) == pytest.approx(float(wide.high - wide.low), abs=0.03)
    assert (found["together"].high - found["together"].low) > 1.7 * (found["alone"].high - found["alone"].low)


def test_a_pool_report_draws_clusters() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(60, 4)) + 5 * np.repeat(rng.normal(size=(12, 1)), 5, axis=0)
    reward = Reward(gold.reshape(1, -1), "point")

    def report(cluster: Any) -> PoolReport:
        features = Features({"joint": np.zeros((240, 1))}, prompt=np.repeat(np.arange(60), 4), cluster=cluster)
        made = Candidates(features, np.arange(0, 241, 4), gold=gold.ravel())
        return pool_report(reward, made, seed=0)

    alone, together = report(None).reward["gold"], report(np.repeat(np.arange(12), 20)).reward["gold"]
    assert ((together.high - together.low) > 1.5 * (alone.high - alone.low)).all()
    wide = bootstrap(gold.max(axis=1), seed=0, cluster=np.repeat(np.arange(12), 5))
    assert float(together.high[-1]) == pytest.approx(float(wide.high))


@pytest.mark.slow
def test_a_comparison_holds_out_and_draws_whole_clusters(write: Write) -> None:
    rows = pairs(96, cluster=lambda i: i // 12)  # in every other cluster the longer text is the better one
    rows = [row | {"chosen": row["chosen"] + " indeed" * (i // 12 % 2 == 0)} for i, row in enumerate(rows)]
    rows = [row | {"rejected": row["rejected"] + " indeed" * (i // 12 % 2)} for i, row in enumerate(rows)]
    found = read_pairs(write("a.jsonl", rows), embedder="hashing")
    fold = folds_of(found, 4, seed=0)
    for cluster in range(8):
        assert len(set(fold[apart(found) == cluster].tolist())) == 1
    alone = replace(found, features=replace(found.features, cluster=None))
    wide, narrow = (
        compare_heads({"linear": get("linear")()}, given, folds=4, budget=1, seed=0).lines["length"].accuracy
        for given in (found, alone)
    )
    assert float(wide.high - wide.low) > 2 * float(narrow.high - narrow.low)  # 8 units, and not 48
    with pytest.raises(OptionError, match="at most the number of clusters of prompts, 8, got 9"):
        compare_heads({"linear": get("linear")()}, found, folds=9, seed=0)
    with pytest.raises(DataError, match="at least 10 prompts or clusters of them; add pairs"):
        label_noise(found)


def test_a_study_holds_out_whole_clusters_and_says_which(write: Write) -> None:
    path = write("pool.jsonl", pools(80, cluster=lambda i: i // 4))
    config = parse(on_pool(Path(path)))
    data = open_dataset(config.datasets[0])
    row = control(config, data, Cell("control", "lamps", "random"), "")
    held = row.arrays[Metric("clusters", "pool")]
    assert len(held) == 20
    assert set(np.unique(held, return_counts=True)[1]) == {4}
    for name in ("path", "test"):
        np.testing.assert_array_equal(row.arrays[Metric("clusters", name)], held)
    assert len(row.arrays[Metric("bon", "mean")]) == len(held) == len(row.arrays[Metric("accuracy", "test")])
    with pytest.raises(DataError, match="3 clusters of prompts are too few to split; give at least 16"):
        open_dataset(config.datasets[0].model_copy(update={"pool": write("few.jsonl", pools(cluster=lambda i: i % 3))}))


def test_the_worlds_topics_are_its_clusters() -> None:
    config = parse(on_pool(Path("none"), datasets=[{"name": "world", "embedder": "hashing"}]))
    data = open_dataset(config.datasets[0])
    row = control(config, data, Cell("control", "world", "random"), "")
    found = row.arrays[Metric("clusters", "pool")]
    assert len(found) == len(row.arrays[Metric("bon", "mean")])
    assert len(row.arrays[Metric("clusters", "path")]) == len(row.arrays[Metric("path", "mean")])
    prompts = data.features.prompt[data.pool_rows[data.pool_offsets[:-1]]]
    wordings = len(np.unique(prompts)) / len(np.unique(found))
    np.testing.assert_array_equal(found, data.clusters[prompts])  # type: ignore[index]
    assert wordings > 1


def test_both_files_of_a_study_name_clusters_or_neither(write: Write) -> None:
    files: dict[str, Any] = {
        "pool": write("pool.jsonl", pools(cluster=lambda i: i // 4)),
        "pairs": write("a.jsonl", pairs()),
    }
    config = DatasetConfig(name="mine", kind="files", embedder="hashing", **files)
    with pytest.raises(
        DataError, match=r"pool\.jsonl says which cluster each prompt belongs to, and .*a\.jsonl does not"
    ):
        open_dataset(config)
    both = config.model_copy(update={"pairs": write("b.jsonl", pairs(cluster=lambda i: i // 6))})
    data = open_dataset(both)
    assert data.clusters is not None
    assert len(np.unique(data.cluster(data.pool_rows))) == 10
    assert len(np.unique(data.features.prompt)) == 40 + len(np.unique(data.tests["test"].prompt))
