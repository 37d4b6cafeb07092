"""Make the shipped data from `world.yaml` and a seed, and check that they are what they were."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from embrm import embedders
from embrm.core.arrays import Array
from embrm.core.documents import read_json
from embrm.errors import DataError
from embrm.world.answers import FILES, SOURCE, write_answers
from embrm.world.layout import Layout, draw_pools, draw_training
from embrm.world.principles import FILE as PRINCIPLES
from embrm.world.shipped import EMBEDDERS, joint_texts, read_responses
from embrm.world.world import Responses, World
from embrm.world.world_sample import SPLITS

if TYPE_CHECKING:
    from embrm.world.lm.train import LanguageModelTraining

MANIFEST = "manifest.json"
LM = "lm"  # the folder of the language model
# Vectors are stored as multiples of a step: this fraction of their coordinates' root mean square. The error of a
# coordinate is then step/√12, and files shrink to about 5 bits (4 for hashing) a number when they are packed.
STEP = {"minilm": 1 / 8, "hashing": 1 / 4}
CHUNK = 2048  # texts whose vectors are in memory at once
AGREES = 0.99  # cosine that a vector made anew must have with the stored one; rounding and bfloat16 cost less


def write_texts(world: World, *, seed: int) -> dict[str, Responses]:
    """Write the texts of all splits."""
    layout = Layout.of(world)
    draws: Mapping[str, Callable[..., Responses]] = dict(zip(SPLITS, (draw_training, draw_pools), strict=True))
    return {name: draw(world, layout, seed=seed) for name, draw in draws.items()}


def build(folder: Path, *, seed: int = 0, progress: bool = False) -> dict[str, Any]:
    """Remake everything in `folder` from its `world.yaml` and its hand-written answers, and return the manifest.

    Args:
        folder: has `world.yaml` and `answers/answers.jsonl`; the other files are written there.
        seed: determines the texts.
        progress: show how far the embedders are.

    Raises:
        DataError: `world.yaml` is absent or faulty.
        MissingExtraError: MiniLM is not installed.
    """
    world = World.load(folder / "world.yaml")
    splits = write_texts(world, seed=seed)
    for name, written in splits.items():
        (folder / f"{name}.jsonl.gz").write_bytes(_packed(world, written))
    texts = [text for written in splits.values() for text in joint_texts(written)]
    vectors = {}
    for name in EMBEDDERS:
        levels, vectors[name] = _rounded(name, texts, progress=progress)
        parts = np.split(levels, np.cumsum([len(written) for written in splits.values()])[:-1])
        arrays: dict[str, Any] = {"step": np.float32(vectors[name]["step"]), **dict(zip(splits, parts, strict=True))}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        (folder / f"{name}.npz").write_bytes(buffer.getvalue())
    write_answers(folder, seed=seed)
    answers = [f"answers/{name}" for name in (SOURCE, *FILES)]
    told = [PRINCIPLES] if (folder / PRINCIPLES).exists() else []
    made = [*(f"{name}.jsonl.gz" for name in SPLITS), *(f"{name}.npz" for name in EMBEDDERS)]
    manifest = {
        "seed": seed,
        "texts": {name: len(written) for name, written in splits.items()},
        "vectors": vectors,
        "files": _digests(folder, ["world.yaml", *told, *made, *answers, *_lm_files(folder)]),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def build_lm(
    folder: Path,
    *,
    seed: int = 0,
    training: LanguageModelTraining | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train the world's language model anew, write it to `lm` in the folder and its digests to the manifest.

    Args:
        folder: has `world.yaml` and `manifest.json`.
        seed: determines texts and weights, on one kind of processor.
        training: how; None is as the shipped one was made.
        on_step: see `LanguageModelTraining.train`.

    Raises:
        DataError: there is no manifest, or `world.yaml` is absent or faulty.
    """
    from embrm.world.lm.train import LanguageModelTraining

    manifest = read_manifest(folder)
    (training or LanguageModelTraining()).train(
        World.load(folder / "world.yaml"), folder / LM, seed=seed, on_step=on_step
    )
    others = {name: about for name, about in manifest["files"].items() if not name.startswith(f"{LM}/")}
    manifest["files"] = others | _digests(folder, _lm_files(folder))
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _lm_files(folder: Path) -> list[str]:
    return sorted(f"{LM}/{file.name}" for file in (folder / LM).glob("*"))


def _digests(folder: Path, files: Sequence[str]) -> dict[str, Any]:
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)} for name in files}


def verify(folder: Path, *, sample: int = 64) -> list[str]:
    """Check the files against the manifest, remake all texts and the vectors of a sample, and return what was checked.

    Args:
        folder: the data.
        sample: how many texts each embedder embeds anew; 0 leaves the models alone.

    Raises:
        DataError: a file, text or vector is not what it should be; the message says which.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        if not (folder / name).exists() or _sha256(folder / name) != expected["sha256"]:
            raise DataError(f"{folder / name} is absent or changed since the data were built; run `embrm data build`")
    done = [f"{len(manifest['files'])} files have the SHA-256 of the manifest"]
    world = World.load(folder / "world.yaml")
    splits = write_texts(world, seed=manifest["seed"])
    for name, written in splits.items():
        shipped = read_responses(folder / f"{name}.jsonl.gz", world)
        if shipped.texts != written.texts or shipped.prompts != written.prompts:
            raise DataError(f"the texts of {name} are not those that world.yaml makes; run `embrm data build`")
        done.append(f"{len(written)} texts of {name} are made again from world.yaml, equal to the letter")
    if sample:
        done += [_verify_vectors(folder, name, splits, sample) for name in EMBEDDERS]
    return done


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest: the seed, and the digests of files of the folder.

    Raises:
        DataError: there is none, or it is something else.
    """
    if not (folder / MANIFEST).exists():
        raise DataError(f"no {MANIFEST} in {folder}; make the data with `embrm data build`")
    found = read_json(folder / MANIFEST)
    files = found.get("files") if isinstance(found, dict) else None
    if not (
        isinstance(files, dict)
        and isinstance(found.get("seed"), int)
        and all(_inside(name) and isinstance(about, dict) and "sha256" in about for name, about in files.items())
    ):
        raise DataError(f"{folder / MANIFEST} is not what `embrm data build` writes; make the data again")
    return dict(found)


def _inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _verify_vectors(folder: Path, embedder: str, splits: dict[str, Responses], sample: int) -> str:
    texts = [text for written in splits.values() for text in joint_texts(written)]
    rows = np.random.default_rng(0).choice(len(texts), size=min(sample, len(texts)), replace=False)
    with np.load(folder / f"{embedder}.npz") as stored:
        old = np.concatenate([stored[name] for name in SPLITS])[rows].astype(np.float64)
    new = embedders.get(embedder)().embed([texts[i] for i in rows]).vectors
    lowest = float(_cosine(old, new).min())
    if lowest < AGREES:
        raise DataError(
            f"vectors of {embedder} made anew have a cosine of {lowest:.4f} with the stored ones, below {AGREES}; "
            "run `embrm data build`"
        )
    return f"{len(rows)} vectors of {embedder} made anew have a cosine of at least {lowest:.4f} with the stored ones"


def _packed(world: World, written: Responses) -> bytes:
    """Return the rows as gzip without a time stamp, so that equal texts give equal bytes."""
    lines = []
    rows = zip(written.topic, written.question, written.counts.tolist(), written.prompts, written.texts, strict=True)
    for topic, wording, counts, prompt, text in rows:
        row = {"topic": world.topics[topic], "wording": int(wording), "counts": counts}
        lines.append(json.dumps(row | {"prompt": prompt, "response": text}, ensure_ascii=False))
    return gzip.compress(("\n".join(lines) + "\n").encode("utf-8"), mtime=0)


def _rounded(name: str, texts: Sequence[str], *, progress: bool) -> tuple[npt.NDArray[np.int8], dict[str, Any]]:
    """Return the vectors of texts as multiples of a step `(n, d)`, the step, and how large the rounding error is.

    Vectors are made chunk after chunk, and again for the second look: from the cache, where the embedder has one.

    Raises:
        DataError: a coordinate is too many steps for 8 bits.
    """
    chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
    embedder, squares, cut = embedders.get(name)(), 0.0, 0
    for chunk in tqdm(chunks, desc=name, unit=f"{CHUNK} texts", disable=not progress):
        embedded = embedder.embed(chunk)
        squares += float(np.square(embedded.vectors, dtype=np.float64).sum())
        cut += embedded.truncated
    dimension = embedded.vectors.shape[1]
    step = np.float32(STEP[name] * np.sqrt(squares / (len(texts) * dimension)))
    out, wrong, lowest = np.empty((len(texts), dimension), dtype=np.int8), 0.0, 1.0
    for i, chunk in enumerate(chunks):
        vectors = embedder.embed(chunk).vectors
        levels = np.rint(vectors / step)
        if np.abs(levels).max() > 127:
            raise DataError(f"vectors of {name} do not fit 8 bits at a step of {step:.3g}; use a larger one")
        out[i * CHUNK : i * CHUNK + len(chunk)] = levels
        wrong += float(np.square(levels * step - vectors, dtype=np.float64).sum())
        lowest = min(lowest, float(_cosine(levels, vectors).min()))
    error = float(np.sqrt(wrong / squares))
    return out, {
        "dimension": dimension,
        "step": float(step),
        "rounding_error": error,
        "lowest_cosine": lowest,
        "truncated": cut,
    }


def _cosine(a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
