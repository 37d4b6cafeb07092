"""Files without pools as a study's data set, and what a first configuration counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from embrm.errors import DataError, OptionError
from embrm.study.config import parse
from embrm.study.config_init import draft
from embrm.study.datasets import DatasetConfig, identify, open_dataset
from embrm.world.mechanism import Mechanism
from tests.small_study import on_pool, write_pool


def written(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def pairs(n: int, *, ties: Sequence[int] = ()) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{i // 2}", "chosen": f"good {i}", "rejected": f"bad {i}", "tie": i in ties} for i in range(2 * n)
    ]


def files(path: str, **more: Any) -> DatasetConfig:
    return DatasetConfig(name="mine", kind="files", pairs=path, embedder="hashing", **more)


def test_a_quarter_of_the_prompts_is_held_out_without_ties(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", pairs(40, ties=range(0, 80, 2)))
    data = open_dataset(files(path))
    test = data.tests["test"]
    assert len(test) == 10  # of 20 pairs of 10 prompts the decided ones
    assert test.tie is None or not test.tie.any()
    assert test.features is data.features
    assert data.gold is None
    assert (len(data.pool_rows), data.pool_offsets.tolist(), data.path_rows.shape) == (0, [0], (0, 1))
    training = data.train(mechanism=Mechanism(bias=1.0), flips=0.0, pairs=60, seed=0)
    assert len(training) == 60
    with pytest.raises(DataError, match="'mine' has 60 training pairs, asked for 61"):
        data.train(mechanism=Mechanism(bias=1.0), flips=0.0, pairs=61, seed=0)


def test_held_out_ties_alone_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", pairs(40, ties=range(80)))
    with pytest.raises(DataError, match=r"all pairs held out of .*p\.jsonl are ties; add decided pairs"):
        open_dataset(files(path))


def test_the_key_knows_the_file_and_the_embedder(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", pairs(40))
    first = identify(files(path))
    assert identify(files(path)) == first
    assert identify(files(path, embedder_options={"dimension": 64})) != first
    assert identify(files(written(tmp_path / "p.jsonl", pairs(41)))) != first


def test_a_pool_of_equal_responses_leaves_its_share_to_the_others(tmp_path: Path) -> None:
    path = write_pool(tmp_path / "lamps.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[:8]:
        row["gold"] = [1.0] * len(row["gold"])
    written(path, rows)
    data = open_dataset(DatasetConfig(name="lamps", kind="pool", pool=str(path), embedder="hashing"))
    drawn = data.train(mechanism=Mechanism(), flips=0.0, pairs=60, seed=0)
    assert data.gold is not None
    assert len(drawn) == 60
    assert (data.gold[drawn.chosen] > data.gold[drawn.rejected]).all()


def test_what_a_file_can_bear_is_counted(tmp_path: Path) -> None:
    found = draft([written(tmp_path / "p.jsonl", pairs(40))])
    assert (found.kind, found.prompts, found.pairs, found.sizes, found.gold) == ("files", 40, 60, (15, 60), False)
    big = [{"prompt": f"p{i // 90}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(90 * 80)]
    assert draft([written(tmp_path / "big.jsonl", big)]).sizes == (1000, 4000)
    small = [{"prompt": f"p{i}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(20)]
    assert draft([written(tmp_path / "small.jsonl", small)]).sizes == (15,)
    pool = [{"id": str(i), "prompt": f"p{i}", "responses": list("abcd"), "gold": [0, 1, 1, 2]} for i in range(20)]
    found = draft([written(tmp_path / "pool.jsonl", pool)])
    assert (found.kind, found.pairs) == ("pool", int(20 * 5 * 0.75 / 2))  # 5 of 6 pairs of each prompt are unequal


def test_awkward_paths_stay_what_they_are(tmp_path: Path) -> None:
    import yaml

    path = written(tmp_path / 'my "prefs", {2}: é.jsonl', pairs(40))
    (data,) = yaml.safe_load(draft([path]).yaml)["datasets"]
    assert data == {"name": 'my "prefs", {2}: é', "kind": "files", "pairs": path, "embedder": "minilm"}


def test_files_of_one_kind_or_of_none_are_refused(tmp_path: Path) -> None:
    one, two = (written(tmp_path / f"{name}.jsonl", pairs(40)) for name in ("one", "two"))
    with pytest.raises(OptionError, match=r"or one of each, got .*one\.jsonl, .*two\.jsonl"):
        draft([one, two])
    with pytest.raises(OptionError, match=r"or one of each"):
        draft([])
    with pytest.raises(DataError, match=r"there is no file owner/name; a study reads files of this machine"):
        draft(["owner/name"])


def test_preferences_are_what_files_need(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "lamps.jsonl")
    with pytest.raises(OptionError, match="kind 'files' needs 'pairs'"):
        parse(on_pool(pool, datasets=[{"name": "mine", "kind": "files", "pool": str(pool)}]))
