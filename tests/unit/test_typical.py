"""Typical responses along a path are likely ones, near the policy's means, and stand in the pool."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from embrm.bestofn import tilt_path, tilted
from embrm.study.config import DatasetConfig
from embrm.study.datasets import open_dataset
from embrm.study.measures.typical import typical_responses
from tests.small_study import write_pool


def test_typical_responses_are_those_of_one_prompt_at_three_points(tmp_path: Path) -> None:
    file = write_pool(tmp_path / "pool.jsonl", responses=24)
    data = open_dataset(DatasetConfig(name="lamps", kind="pool", pool=str(file), embedder="hashing"))
    assert data.gold is not None
    # A proxy that rises with gold up to its middle, and against it beyond: gold peaks on the way.
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(data.gold))
    value = -((data.gold - 0.6) ** 2) + noise + 0.3 * (data.gold < 0.3)
    path = tilt_path(data.log_weight, value[data.path_rows], data.gold[data.path_rows])
    found = typical_responses(data, path, value, kl_end=2.0)
    assert [text["at"] for text in found][::2] == ["start", "end"]
    assert found[1]["at"] in ("peak", "half-way")
    assert 0.0 == found[0]["kl"] < found[1]["kl"] < found[2]["kl"] <= 2.0
    assert len({text["prompt"] for text in found}) == 1
    rows = {row["prompt"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    asked = rows[found[0]["prompt"]]
    for text in found:
        assert asked["gold"][asked["responses"].index(text["text"])] == text["gold"]
    # At the end the chosen one is among the likeliest half of the policy's probability.
    place = next(i for i, of in enumerate(data.path_rows) if data.written(of[:1])[0][0] == found[0]["prompt"])
    last = int(np.argmin(np.abs(path.kl.mean(axis=1) - found[2]["kl"])))
    share = tilted(data.log_weight[[place]], value[data.path_rows[[place]]], float(path.inverse_beta[last]))[0]
    written = [text for _, text in data.written(data.path_rows[place])]
    mine = share[written.index(found[2]["text"])]
    assert share[share > mine].sum() <= 0.5
