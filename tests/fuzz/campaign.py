"""Files damaged by seeds, many in little time: `python -m tests.fuzz.campaign N [FIRST]`, or `just campaign N FIRST`.

The hypothesis tests beside this draw any structure and take milliseconds for it. Here a case is a good file with faults
of `tests.fuzz.mutations`, and its category and number make it again: `tried("rows", 17, …)`.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from embrm import heads
from embrm.cli._token import read_token
from embrm.core.arrays import as_matrix
from embrm.core.data import Features, Pairs
from embrm.core.documents import parse_json
from embrm.core.files import read_rows
from embrm.core.settings import read_settings
from embrm.core.trajectory import Step, Trajectory
from embrm.core.vectors import open_vectors
from embrm.core.yaml_files import read_yaml
from embrm.data.faults import RowRules
from embrm.data.prompts import read_prompts
from embrm.data.texts import read_texts
from embrm.embedders.cache import shards, store
from embrm.errors import EmbrmError
from embrm.heads import load_model
from embrm.integrations._samples import samples_of
from embrm.integrations.rewardbench import read_bench
from embrm.serving.access import Access
from embrm.serving.body import parse_body
from embrm.study.claims.expected import read_expected
from embrm.study.metric import Metric
from embrm.study.results import Cell, Row
from tests.fuzz.mutations import damaged_bytes, damaged_value, dumped
from tests.fuzz.strategies import TABLES, packed_as
from tests.sealed_model import seal

SECONDS = 5.0  # of processor time, the second time
FORMS = ("lines", "lines", "array", "pretty", "csv", "parquet", "arrow", "utf-16")
YAML = b"heads: &a [{name: linear, options: {members: 2}}, mlp]\nflips: [0, 0.25]\nC1/fair: not supported\nb: *a\n"
Read = Callable[[bytes], Any]


def categories(room: Path) -> dict[str, tuple[list[Any], Read]]:
    """Return, for each category, good contents (JSON-ready values or bytes) and what reads them once damaged."""
    tables = list(TABLES.values())
    packed: list[Any] = [packed_as(table, form) for table in tables for form in FORMS]
    arrays = [_npy(np.zeros(shape, dtype=kind)) for shape in ((7, 3), (9,)) for kind in ("f4", "f2", "i8", "U3")]
    queries = {"query": ["a", "b"], "prompts": ["p", "q"], "labels": None, "response": "r", "prompt": "p"}
    skip = RowRules(on_bad_row="skip")
    return {
        "JSON": (tables, lambda data: parse_json(data, "it")),
        "YAML": ([YAML], lambda data: read_yaml(data.decode("utf-8", "replace"), name="it")),
        "typed options": ([YAML], lambda data: read_settings([f"a={data.decode('utf-8', 'replace')}"])),
        "requests": ([queries], _request),
        "features": ([[[0.5, 1.0], [2.0, 3.0]]], lambda data: Features.of(parse_json(data, "it"))),
        "rows": (packed, _file(room / "rows", read_rows)),
        "texts": (packed + tables, _file(room / "texts", lambda path: read_texts(path, rules=skip))),
        "prompts": (packed + tables, _file(room / "prompts", read_prompts)),
        "benches": ([*packed[24:32], TABLES["bench"]], _file(room / "bench", read_bench)),
        "vectors": (arrays, _file(room / "v.npy", lambda path: _finite(open_vectors(path)))),
        "tensors": ([_tensors()], _file(room / "v.safetensors", lambda path: _finite(open_vectors(path)))),
        "expected verdicts": ([YAML, b"C1: supported\n"], _file(room / "expected.yaml", read_expected)),
        "tokens": (
            [b"secret-token\n"],
            _file(room / "token", lambda path: Access("127.0.0.1", (), read_token(str(path)))),
        ),
        **_folders(room),
    }


def _folders(room: Path) -> dict[str, tuple[list[Any], Read]]:
    """Return the categories of files that lie in folders of ours."""
    run = Trajectory(room / "run")
    for t in range(3):
        run.add(Step(t, t / 10, 1.0, 2.0, float("nan"), {"words": 1.0}, [0.0], [{"prompt": "p", "text": "t"}]))
    lines = room / "run" / "trajectory.jsonl"
    model = room / "model"
    pairs = Pairs.from_arrays(np.eye(6, 4), chosen=[0, 1, 2], rejected=[3, 4, 5])
    heads.get("linear")(members=2, prior_precision=1.0).fit(pairs, seed=0).save(model)
    own = {name: (model / name).read_bytes() for name in ("config.json", "probe.json", "model.safetensors")}
    row = Row(Cell("fit", "a", "b"), "k", {"x": 1.0}, {Metric("sizes"): np.arange(3.0)}, {"why": ["y"]}, {"fit": 1.0})
    (room / "cells").mkdir()
    row.save(room / "cells")
    place = room / "cells" / "k.npz"
    store.remember("question", "answer")
    (fact,) = (store.cache_folder() / "facts").iterdir()
    truth = shards.ShardRows([bytes([i] * 16) for i in range(5)], np.ones((5, 4), np.float32), np.arange(5) % 2 == 0)
    shards.write_shard(room / "shards", truth)
    (shard,) = (room / "shards").iterdir()
    return {
        "runs": ([lines.read_bytes()], _file(lines, lambda path: Trajectory.load(path.parent))),
        **{f"models: {name}": (_both(data), _model(model, own, name)) for name, data in own.items()},
        "rows of studies": (
            [place.read_bytes()],
            _file(place, lambda path: _same(Row.load(path).digest(), row.digest())),
        ),
        "facts of the cache": (_both(fact.read_bytes()), _file(fact, lambda path: _known(store.recall("question")))),
        "shards of the cache": ([shard.read_bytes()], _file(shard, lambda path: _sound(path, truth))),
    }


def tried(category: str, number: int, of: Mapping[str, tuple[list[Any], Read]]) -> str:
    """Return how the case of that number ended; what is no refusal goes through, and so does one that takes long.

    Raises:
        AssertionError: it took more than 5 s of processor time twice, or its message is empty or very long.
    """
    whole, read = of[category]
    rng = random.Random(f"{category} {number}")
    good = rng.choice(whole)
    if isinstance(good, bytes):
        data = damaged_bytes(good, rng)
    else:
        value = damaged_value(good, rng)
        lines = isinstance(value, list) and rng.random() < 0.5
        data = b"".join(dumped(line) + b"\n" for line in value) if lines else dumped(value)
        data = damaged_bytes(data, rng) if rng.random() < 0.2 else data
    for _ in range(2):
        began = time.process_time()
        try:
            read(data)
            outcome = "read"
        except EmbrmError as error:
            outcome = "refused" if 0 < len(str(error)) < 20_000 else "told at length"
        assert outcome != "told at length", (category, number)
        if time.process_time() - began < SECONDS:
            return outcome
    raise AssertionError(f"{category} {number} took more than {SECONDS} s")


def main(cases: int, first: int = 0) -> int:
    """Try so many cases, the categories in turns, print the counts also after Ctrl-C, and return how many failed."""
    counts: Counter[tuple[str, str]] = Counter()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EMBRM_CACHE"] = f"{folder}/cache"
        of = categories(Path(folder))
        names = list(of)
        with suppress(KeyboardInterrupt):
            for number in range(first, first + cases):
                category = names[number % len(names)]
                try:
                    counts[category, tried(category, number, of)] += 1
                except Exception as error:
                    counts[category, "FAILED"] += 1
                    print(f"{category} {number}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    for (category, outcome), count in sorted(counts.items()):
        print(f"{category}\t{outcome}\t{count}")
    return sum(count for (_, outcome), count in counts.items() if outcome == "FAILED")


def _file(path: Path, read: Callable[[Path], Any]) -> Read:
    def written(data: bytes) -> Any:
        path.write_bytes(data)
        return read(path)

    return written


def _model(folder: Path, own: Mapping[str, bytes], name: str) -> Read:
    """Return what loads the model with one file damaged, and a manifest that agrees with it."""

    def read(data: bytes) -> Any:
        for other, whole in own.items():
            (folder / other).write_bytes(data if other == name else whole)
        seal(folder)
        return load_model(folder)

    return read


def _both(data: bytes) -> list[Any]:
    try:
        return [data, json.loads(data)]
    except ValueError:
        return [data]


def _request(data: bytes) -> Any:
    body = parse_body(data)
    queries = body.get("query")
    return samples_of(
        queries if isinstance(queries, list) and queries else [queries], body.get("prompts"), keep_system=False
    )


def _finite(found: Any) -> None:
    assert np.isfinite(as_matrix(np.asarray(found))).all()


def _same(found: bytes, wanted: bytes) -> None:
    assert found == wanted, "another row"


def _known(answer: str | None) -> None:
    assert answer in (None, "answer"), "a wrong fact"


def _sound(path: Path, truth: shards.ShardRows) -> None:
    found, _ = shards.read_shard(path, set(truth.keys))
    for i, key in enumerate(found.keys):
        j = truth.keys.index(key)
        assert np.array_equal(found.vectors[i], truth.vectors[j]), "a wrong vector"
        assert found.cut[i] == truth.cut[j], "a wrong flag"


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _tensors() -> bytes:
    return bytes(save({"a": np.ones((5, 3), np.float32), "b": np.zeros((2, 2), np.float16)}))


if __name__ == "__main__":
    sys.exit(min(main(*map(int, sys.argv[1:])), 1))
