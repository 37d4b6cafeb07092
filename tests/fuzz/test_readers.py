"""Every reader on damaged files: what it gives, or DataError (OptionError for what was typed), and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embrm.core.arrays import as_matrix, read_npy
from embrm.core.data import Features
from embrm.core.documents import parse_json
from embrm.core.files import read_rows, write_rows
from embrm.core.settings import read_settings
from embrm.core.trajectory import Step, Trajectory
from embrm.core.yaml_files import read_yaml
from embrm.data.faults import RowRules
from embrm.data.prompts import read_prompts
from embrm.data.texts import read_texts
from embrm.data.write import common_rows, write_any
from embrm.errors import DataError, EmbrmError, OptionError, UnknownNameError
from embrm.integrations._samples import samples_of
from embrm.integrations.rewardbench import read_bench
from embrm.serving.body import parse_body
from embrm.study.claims.expected import read_expected
from embrm.study.config import load_config
from embrm.world.schema import load_spec
from tests.fuzz import strategies
from tests.fuzz.conftest import counts
from tests.fuzz.mutations import damaged_value, dumped

files = settings.get_profile("files")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def outcome(category: str, read: Callable[[], Any], *errors: type[EmbrmError]) -> Any:
    """Return what a reader gives, or None where it refuses as it may; anything else goes through."""
    refused: EmbrmError | None = None
    try:
        found = read()
    except EmbrmError as error:
        refused = error
    if refused is None:
        counts[category, "read"] += 1
        return found
    assert isinstance(refused, errors or DataError), repr(refused)
    assert 0 < len(str(refused)) < 20_000
    counts[category, "refused"] += 1
    return None


@files
@given(data=strategies.containers(), kind=st.sampled_from([None, "pairs", "pools", "texts", "judged", "compared"]))
def test_rows_and_texts(data: bytes, kind: str | None, room: Path) -> None:
    (room / "rows").write_bytes(data)
    rows = outcome("rows", lambda: read_rows(room / "rows"))
    if rows is not None:
        try:
            write_rows(room / "again.jsonl", rows.values)
        except DataError:  # dates, bytes, NaN
            return
        assert len(read_rows(room / "again.jsonl")) == len(rows)
    texts = outcome("texts", lambda: read_texts(room / "rows", kind=kind, rules=RowRules(on_bad_row="skip")))
    if texts is not None:
        written = outcome("texts written", lambda: common_rows(texts))
        if written is not None:
            write_any(room / "common.jsonl", written)
            assert read_texts(room / "common.jsonl", kind=texts.kind).responses == texts.responses
            outcome("texts as Parquet", lambda: write_any(room / "common.parquet", written))


@files
@given(data=strategies.containers())
def test_prompts_and_benches(data: bytes, room: Path) -> None:
    (room / "prompts").write_bytes(data)
    outcome("prompts", lambda: read_prompts(room / "prompts"))
    outcome("benches", lambda: read_bench(room / "prompts"))


@files
@given(data=strategies.arrays())
def test_vectors(data: bytes, room: Path) -> None:
    (room / "v.npy").write_bytes(data)
    found = outcome("vectors", lambda: as_matrix(read_npy(room / "v.npy", of="vectors")))
    assert found is None or np.isfinite(found).all()


@files
@given(values=strategies.anything)
def test_anything_as_features(values: Any) -> None:
    outcome("features", lambda: Features.of(values))


@pytest.fixture(scope="module")
def run_lines(room: Path) -> bytes:
    run = Trajectory(room / "run")
    for t in range(3):
        run.add(Step(t, t / 10, 1.0, 2.0, float("nan"), {"words": 1.0}, [0.0], [{"prompt": "p", "text": "t"}]))
    return (room / "run" / "trajectory.jsonl").read_bytes()


@files
@given(draw=st.data())
def test_runs(draw: st.DataObject, room: Path, run_lines: bytes) -> None:
    rows = [json.loads(line) for line in run_lines.splitlines()]
    if draw.draw(st.booleans()):
        data = draw.draw(strategies.damaged(run_lines))
    else:
        value = damaged_value(rows, random.Random(draw.draw(st.integers(0, 2**32))))
        data = b"".join(dumped(row) + b"\n" for row in (value if isinstance(value, list) else [value]))
    (room / "run" / "trajectory.jsonl").write_bytes(data)
    (room / "run" / "latent-0001.npy").write_bytes(draw.draw(strategies.arrays()))
    outcome("runs", lambda: Trajectory.load(room / "run"))


@files
@given(text=strategies.documents | st.text(max_size=60), data=st.binary(max_size=60))
def test_json(text: str, data: bytes) -> None:
    outcome("JSON", lambda: parse_json(text, "it"))
    outcome("JSON", lambda: parse_json(data, "it"))


@files
@given(text=strategies.yaml_texts)
def test_yaml_and_typed_options(text: str) -> None:
    outcome("YAML", lambda: read_yaml(text, name="it"))
    outcome("typed options", lambda: read_settings([f"a={text}", text]), OptionError)


CONFIG = Path(__file__).resolve().parents[2] / "embrm" / "study" / "configs" / "ci.yaml"
WORLD = Path(__file__).resolve().parents[2] / "data" / "world.yaml"


@files
@given(draw=st.data())
def test_configurations(draw: st.DataObject, room: Path) -> None:
    text = draw.draw(strategies.damaged(CONFIG.read_bytes()) | strategies.yaml_texts.map(_encoded))
    (room / "config.yaml").write_bytes(text)
    outcome("configurations", lambda: load_config(str(room / "config.yaml")), OptionError, UnknownNameError, DataError)
    key = draw.draw(
        st.sampled_from(
            ["mechanisms", "flips", "pairs", "heads.0.options", "seeds", "rl", "heads", "x.y", "datasets.0"]
        )
    )
    value = draw.draw(strategies.yaml_texts)
    outcome("overrides", lambda: load_config("ci", [f"{key}={value}"]), OptionError, UnknownNameError)
    (room / "expected.yaml").write_bytes(text)
    outcome("expected verdicts", lambda: read_expected(room / "expected.yaml"))


@settings(files, max_examples=max(files.max_examples // 10, 5))
@given(draw=st.data())
def test_worlds(draw: st.DataObject, room: Path) -> None:
    data = draw.draw(strategies.damaged(WORLD.read_bytes()[:20_000]) | strategies.yaml_texts.map(_encoded))
    (room / "world.yaml").write_bytes(data)
    outcome("worlds", lambda: load_spec(room / "world.yaml"))


@files
@given(body=st.binary(max_size=80), value=strategies.anything)
def test_requests(body: bytes, value: Any) -> None:
    outcome("requests", lambda: parse_body(body))
    queries = value if isinstance(value, list) and value else [value]
    outcome("requests", lambda: samples_of(queries, None, keep_system=False))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
