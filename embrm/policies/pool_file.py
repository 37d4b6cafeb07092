"""A policy's responses as a pool file, written in parts so that a run that was killed goes on where it stood."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from embrm.core.files import check_writable, fingerprint, read_rows, write_bytes, write_rows
from embrm.errors import DataError, OptionError
from embrm.lm.checkpoint import Prompt
from embrm.policies.causal_lm import CausalLMPolicy

NOTE = "run.json"  # says which run the parts belong to
Gold: TypeAlias = Callable[[Sequence[Prompt], Sequence[str]], npt.ArrayLike]


@dataclass(frozen=True)
class WrittenPool:
    """What was written.

    Attributes:
        prompts: how many pools.
        responses: how many responses in all.
        empty: responses without any text; they are kept, since the policy gives them too.
        cut: responses that `max_new_tokens` ended.
        resumed: prompts whose responses an earlier run had left behind.
    """

    prompts: int
    responses: int
    empty: int
    cut: int
    resumed: int


@dataclass(frozen=True)
class PoolShards:
    """How a pool file is written in parts.

    Attributes:
        prompts: how many are finished, and kept, together.
        on_finished: told how many prompts were finished, after each part.

    Raises:
        OptionError: `prompts` is below 1.
    """

    prompts: int = 16
    on_finished: Callable[[int], object] = lambda prompts: None

    def __post_init__(self) -> None:
        if self.prompts < 1:
            raise OptionError(f"shards must have at least 1 prompt, got {self.prompts}; take 16")


def write_pool(
    policy: CausalLMPolicy,
    path: str | Path,
    *,
    prompts: Sequence[Prompt],
    n: int,
    seed: int,
    ids: Sequence[str] | None = None,
    gold: Gold | None = None,
    shards: PoolShards | None = None,
) -> WrittenPool:
    """Write `n` responses a prompt as a pool file: rows `{id, prompt, responses[], ended[], policy[], gold[]?}`.

    What is finished stands in `<path>.parts` until the whole file does: a run that was killed goes on from there when
    it is started again, and ends with the same file.

    Args:
        policy: writes the responses.
        path: the file.
        prompts: see `CausalLMPolicy.respond`.
        n: see `CausalLMPolicy.respond`.
        seed: see `CausalLMPolicy.respond`.
        ids: see `CausalLMPolicy.respond`.
        gold: `(prompts, responses) -> (m,)`, the gold reward of each response; it is asked when all are there.
        shards: the parts; None is `PoolShards()`.

    Raises:
        OptionError: the parts belong to another run, or nothing can be written there; see also `respond`.
        DataError: the gold is not one finite number a response; see also `respond`.
        MissingExtraError: see `respond`.
    """
    check_writable(path)
    shards = shards or PoolShards()
    ids = policy.check(prompts, n=n, ids=ids)
    run = {"policy": policy.recipe, "prompts": prompts, "ids": ids, "n": n, "seed": seed, "shard": shards.prompts}
    folder, note = Path(f"{path}.parts"), json.dumps({"run": fingerprint(run)}).encode()
    _check_same(folder, note)
    rows: list[dict[str, Any]] = []
    resumed = 0
    for start in range(0, len(prompts), shards.prompts):
        at, part = slice(start, start + shards.prompts), folder / f"{start:08d}.jsonl"
        if part.exists():
            resumed += len(ids[at])
        else:
            pools = _pools(policy, prompts[at], ids[at], n=n, seed=seed)
            write_bytes(folder / NOTE, note)
            write_rows(part, pools)
        rows += read_rows(part).values
        shards.on_finished(len(ids[at]))
    if gold is not None:
        policy.release()
        _add_gold(rows, gold)
    write_rows(path, rows)
    shutil.rmtree(folder)
    texts = [text for row in rows for text in row["responses"]]
    cut = sum(not ended for row in rows for ended in row["ended"])
    return WrittenPool(len(rows), len(texts), empty=texts.count(""), cut=cut, resumed=resumed)


def _check_same(folder: Path, note: bytes) -> None:
    """Raise OptionError where the parts that are there belong to another run."""
    if any(folder.glob("*.jsonl")) and (folder / NOTE).read_bytes() != note:
        raise OptionError(
            f"{folder} was begun with another model, other prompts or other options; start that run again to finish "
            "it, remove the folder to start over, or give another output"
        )


def _pools(
    policy: CausalLMPolicy, prompts: Sequence[Prompt], ids: Sequence[str], *, n: int, seed: int
) -> list[dict[str, Any]]:
    pools = policy.respond(prompts, n=n, seed=seed, ids=ids)
    return [
        {
            "id": name,
            "prompt": prompt,
            "responses": [one.text for one in pool],
            "ended": [one.ended for one in pool],
            "policy": [Path(policy.model).name] * n,
        }
        for name, prompt, pool in zip(ids, prompts, pools, strict=True)
    ]


def _add_gold(rows: Sequence[dict[str, Any]], gold: Gold) -> None:
    """Add a number a response to each row.

    Raises:
        DataError: the gold is not one finite number a response.
    """
    asked = [(row["prompt"], text) for row in rows for text in row["responses"]]
    found = np.asarray(gold([prompt for prompt, _ in asked], [text for _, text in asked]), dtype=np.float64)
    if found.shape != (len(asked),) or not np.isfinite(found).all():
        raise DataError(
            f"gold must give one finite number for each of the {len(asked)} responses, got shape {found.shape} with "
            f"{int((~np.isfinite(found)).sum())} that are not finite; check its model and precision"
        )
    values = found.tolist()
    for row in rows:
        size = len(row["responses"])
        row["gold"], values = values[:size], values[size:]
