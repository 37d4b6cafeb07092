"""Vectors that stay in their files: what is read is what is there, and a file that changes is an error."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

import embrm
from embrm.core.arrays import Array, as_rows
from embrm.core.data import Features, Pairs
from embrm.core.mapped import FileMatrix
from embrm.core.vectors import open_vectors
from embrm.errors import DataError
from embrm.heads import Head

ROWS, WIDTH = 600, 12


def vectors(seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(ROWS, WIDTH)).astype(np.float16)


def npy(path: Path, x: Array) -> str:
    np.save(path / "x.npy", x)
    return str(path / "x.npy")


def safetensors(path: Path, x: Array) -> str:
    save_file({"weights": np.zeros(3, np.float32), "x": x}, path / "x.safetensors")
    return str(path / "x.safetensors")


def table(x: Array, *, fixed: bool) -> pa.Table:
    flat = pa.array(x.ravel())
    column = (
        pa.FixedSizeListArray.from_arrays(flat, x.shape[1])
        if fixed
        else pa.ListArray.from_arrays(pa.array(np.arange(0, x.size + 1, x.shape[1]), pa.int32()), flat)
    )
    return pa.table({"id": pa.array(range(len(x))), "vector": column})


def parquet(path: Path, x: Array) -> str:
    pq.write_table(table(x, fixed=False), path / "x.parquet", row_group_size=100)
    return str(path / "x.parquet")


def arrow(path: Path, x: Array) -> str:
    pa.feather.write_feather(table(x, fixed=True), str(path / "x.arrow"), compression="zstd", chunksize=64)
    return str(path / "x.arrow")


Writer = Callable[[Path, Array], str]
WRITERS = (npy, safetensors, parquet, arrow)


@pytest.mark.parametrize("write", WRITERS)
def test_rows_are_those_of_the_file_however_they_are_asked_for(write: Writer, tmp_path: Path) -> None:
    x = vectors()
    found = open_vectors(write(tmp_path, x))
    assert isinstance(found, FileMatrix)
    assert (found.shape, len(found), found.stored) == (x.shape, ROWS, np.dtype(np.float16))
    rows, mask = np.array([5, 3, 599, 3]), np.arange(ROWS) % 7 == 0
    for part in (rows, mask, slice(10, 20), slice(None), slice(0, 90, 4), slice(7, 2), np.array([[1, 2], [3, 4]]), 17):
        assert found[part].dtype == np.float32
        np.testing.assert_array_equal(found[part], x.astype(np.float32)[part])
    np.testing.assert_array_equal(np.asarray(found), x.astype(np.float32))


@pytest.mark.parametrize("stored", ["float32", "float64"])
def test_other_floats_are_read_too(stored: str, tmp_path: Path) -> None:
    x = vectors().astype(stored)
    found = open_vectors(npy(tmp_path, x))
    assert isinstance(found, FileMatrix)
    np.testing.assert_array_equal(found[:], x.astype(np.float32))


def test_bfloat16_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    x = torch.from_numpy(vectors()).to(torch.bfloat16)
    save_torch({"x": x}, tmp_path / "x.safetensors")
    np.testing.assert_array_equal(open_vectors(tmp_path / "x.safetensors")[5:9], x[5:9].float().numpy())


def test_a_view_of_a_mapping_is_its_part_of_the_file(tmp_path: Path) -> None:
    x = vectors()
    mapped = np.load(npy(tmp_path, x), mmap_mode="r")
    part = as_rows(mapped[100:300])
    assert isinstance(part, FileMatrix)
    np.testing.assert_array_equal(part[np.array([0, 199])], x[[100, 299]])
    for other in (mapped[:, :5], mapped[::2], np.load(tmp_path / "x.npy", mmap_mode="r+")):
        assert isinstance(as_rows(other), np.ndarray)  # rows that do not follow each other, or may be written to
    np.testing.assert_array_equal(as_rows(mapped[::2]), x[::2])


@pytest.mark.parametrize("name", ["linear", "laplace", "inform", "ensemble"])
def test_heads_learn_and_score_the_same_from_a_file(name: str, tmp_path: Path) -> None:
    x = vectors()
    chosen = np.where(x[::2, 0] > x[1::2, 0], 0, 1) + np.arange(0, ROWS, 2)
    rejected = np.arange(0, ROWS, 2) * 2 + 1 - chosen
    heads = {"inform": {"members": 2, "epochs": 3}, "ensemble": {"members": 2, "base": Head.of("linear")}}
    head = Head.of({"name": name, "options": heads.get(name, {})})
    models = []
    for source in (x.astype(np.float32), np.load(npy(tmp_path, x), mmap_mode="r")):
        pairs = Pairs.from_arrays(source, chosen=chosen, rejected=rejected)
        models.append(head.fit(pairs, seed=0))
    here, there = (model.score(source).draws for model, source in zip(models, (x, source), strict=True))
    np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(models[0].latent(x), models[1].latent(Features.of(source)))


@pytest.mark.parametrize("name", ["linear", "laplace"])
def test_differences_made_for_each_pass_give_the_same_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from embrm.heads import _newton

    x = vectors().astype(np.float32)
    chosen = np.where(x[::2, 0] > x[1::2, 0], 0, 1) + np.arange(0, ROWS, 2)
    pairs = Pairs.from_arrays(x, chosen=chosen, rejected=np.arange(0, ROWS, 2) * 2 + 1 - chosen)
    kept = embrm.heads.get(name)().fit(pairs, seed=0).score(x).draws
    monkeypatch.setattr(_newton, "BYTES", 0)
    np.testing.assert_array_equal(embrm.heads.get(name)().fit(pairs, seed=0).score(x).draws, kept)


def test_validation_pairs_taken_part_by_part_stop_where_all_at_once_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from embrm.heads.gradient import early_stopping

    x = np.random.default_rng(0).normal(size=(1400, 8)).astype(np.float32)
    chosen = np.where(x[::2, 0] > x[1::2, 0], 0, 1) + np.arange(0, 1400, 2)
    other = np.arange(0, 1400, 2) * 2 + 1 - chosen
    prompt, train = np.arange(1400) // 2, np.arange(700) < 100
    pairs = Pairs.from_arrays(x, chosen=chosen, rejected=other, prompt=prompt)
    seen = []
    for room in (early_stopping.VALIDATED_BYTES, 0):  # no room: 256 pairs at once, of 600
        monkeypatch.setattr(early_stopping, "VALIDATED_BYTES", room)
        head = embrm.heads.get("inform")(members=2, epochs=3)
        seen.append(head.fit(pairs.take(train), seed=0, validation=pairs.take(~train)).record["validation_loss"])
    assert seen[0] != seen[1]  # it was another sum
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-5)


@pytest.mark.parametrize("rows", [slice(0, 4), np.array([1, 500])], ids=["run", "gather"])
@pytest.mark.parametrize("harm", ["cut", "written", "replaced", "gone"])
def test_a_file_that_changes_underneath_is_an_error(rows: Any, harm: str, tmp_path: Path) -> None:
    path = Path(npy(tmp_path, vectors()))
    features = Features.of(np.load(path, mmap_mode="r"))
    found = features.rows("joint")
    assert len(found[np.array([2])]) == 1  # it is mapped
    if harm == "cut":
        os.truncate(path, 200)
    elif harm == "written":
        with path.open("r+b") as stream:
            stream.seek(500)
            stream.write(b"\0\0")
        os.utime(path, (1, 1))
    elif harm == "replaced":
        (tmp_path / "other").write_bytes(path.read_bytes())
        (tmp_path / "other").replace(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match="cannot be read" if harm == "gone" else "has changed since it was opened"):
        found[rows]


def test_a_truncated_file_ends_a_fit_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, x = Path(npy(tmp_path, vectors())), vectors()
    chosen = np.where(x[::2, 0] > x[1::2, 0], 0, 1) + np.arange(0, ROWS, 2)
    pairs = Pairs.from_arrays(
        np.load(path, mmap_mode="r"), chosen=chosen, rejected=np.arange(0, ROWS, 2) * 2 + 1 - chosen
    )
    os.truncate(path, 4096)
    for name in ("linear", "inform"):
        with pytest.raises(DataError, match=r"x\.npy has changed"):
            Head.of(name).fit(pairs, seed=0)


def test_another_process_opens_the_same_file(tmp_path: Path) -> None:
    found = open_vectors(npy(tmp_path, vectors()))
    assert len(pickle.dumps(found)) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found))[:], found[:])


def test_what_is_no_matrix_of_vectors_is_refused(tmp_path: Path) -> None:
    x = vectors()
    with pytest.raises(DataError, match="cannot be read"):
        open_vectors(tmp_path / "none.npy")
    bad = x.copy()
    bad[70, 3] = np.inf
    with pytest.raises(DataError, match="1 of 600 rows hold NaN or infinity, first row 70"):
        open_vectors(npy(tmp_path, bad))
    os.truncate(npy(tmp_path, x), 3000)
    with pytest.raises(DataError, match=r"cannot be read as a \.npy file"):
        open_vectors(tmp_path / "x.npy")
    os.truncate(safetensors(tmp_path, x), 3000)
    with pytest.raises(DataError, match="is cut off: 600 rows of 12 end at byte"):
        open_vectors(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes((20).to_bytes(8, "little") + b"{nothing")
    with pytest.raises(DataError, match=r"is not valid JSON|is no safetensors file"):
        open_vectors(tmp_path / "x.safetensors")
    save_file({"a": x, "b": x}, tmp_path / "two.safetensors")
    with pytest.raises(DataError, match=r"found a, b; choose one, .*two.safetensors:a"):
        open_vectors(tmp_path / "two.safetensors")
    with pytest.raises(DataError, match="has no matrix of floats 'c'; it has a, b"):
        open_vectors(f"{tmp_path / 'two.safetensors'}:c")
    np.testing.assert_array_equal(open_vectors(f"{tmp_path / 'two.safetensors'}:b")[:], x.astype(np.float32))
    np.save(tmp_path / "flat.npy", x[0])
    with pytest.raises(DataError, match="must be 2-D"):
        open_vectors(tmp_path / "flat.npy")


def test_columns_with_gaps_or_ragged_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for rows, message in (
        ([[1.0, 2.0], None], "a vector, or a number of one, is missing in the rows from 1"),
        ([[1.0, 2.0], [1.0, None]], "is missing"),
        ([[1.0, 2.0], [1.0]], "row 2: a vector has 1 numbers, and 2 before"),
    ):
        pq.write_table(pa.table({"v": pa.array(rows, pa.list_(pa.float32()))}), path)
        with pytest.raises(DataError, match=message):
            open_vectors(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError, match="found none among text"):
        open_vectors(path)
    batches = [pa.record_batch({"v": pa.array([[1.0] * n], pa.list_(pa.float32()))}) for n in (2, 3)]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as out:
        for batch in batches:
            out.write_batch(batch)
    with pytest.raises(DataError, match="row 2: 'v' has 3 numbers, and 2 before"):
        open_vectors(path)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="is a damaged file"):
        open_vectors(path)
