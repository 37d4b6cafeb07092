"""The one training loop: stochastic variational inference of replicates in blocks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from embrm.core.arrays import Array
from embrm.core.data import Problem, Provenance
from embrm.core.device import torch_device
from embrm.core.processes import is_spread, spread
from embrm.core.threads import one_thread
from embrm.heads.gradient.block import Block
from embrm.heads.gradient.early_stopping import Trained, bytes_per_text, encode_rows
from embrm.heads.gradient.layers import Params
from embrm.heads.gradient.losses import FlipAware
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.precision import settled
from embrm.heads.gradient.replicates import Prepared, Replicate
from embrm.heads.gradient.rows import Matrices

# Gathered features and activations in a step: a block larger than a CPU's cache is slower, while an accelerator pays
# for its launches, whatever the block holds.
BLOCK_BYTES, ACCELERATOR_BLOCK_BYTES = 24 << 20, 1 << 30
REPORTED = 2048  # texts that a head's diagnostics look at


@dataclass(frozen=True, eq=False)
class Learnt:
    """What training made of one problem, as the fields of a fitted head.

    Attributes:
        width: columns of the features.
        embedder: what made them.
        reference: `(members,)` mean reward of the training texts, 0 where they were not measured.
        record: what training saw, JSON-ready.
        params: name → `(members, ...)` float32; the scaling of the features is folded into the input layer.
    """

    width: int
    embedder: Provenance
    reference: Array
    record: dict[str, Any]
    params: dict[str, Array]


def train(
    head: Network,
    problems: Sequence[Problem],
    *,
    flips: Sequence[float],
    start: Sequence[Mapping[str, Array]] | None = None,
    measured: bool = True,
) -> list[Learnt]:
    """Fit all problems; those that share features, steps an epoch and batch size are trained in common blocks.

    Args:
        head: the recipe.
        problems: what to fit.
        flips: for each problem the share of labels that its loss takes to be flipped.
        start: for each problem the parameters to start from, `(members, ...)` each; None draws them.
        measured: whether to score the training texts, for `reference` and for what the record says of rewards.

    Raises:
        ConvergenceError: the loss stopped being finite.
        DataError: pools are needed and missing.
    """
    starts = [None] * len(problems) if start is None else start
    matrices = Matrices(torch_device())
    prepared = [
        Prepared.of(head, problem, matrices=matrices, flip=flip, start=params)
        for problem, flip, params in zip(problems, flips, starts, strict=True)
    ]
    runs = list(_runs(head, prepared))
    if len(runs) == 1 or not is_spread():
        parts = [_fit(head, [prepared[i] for i in run], measured=measured) for run in runs]
    else:
        jobs = [
            BlockJob(
                head,
                tuple(problems[i] for i in run),
                tuple(flips[i] for i in run),
                tuple(starts[i] for i in run),
                measured,
            )
            for run in runs
        ]
        seeds = [", ".join(str(problems[i].seed) for i in run) for run in runs]
        with settled():
            parts = spread(BlockJob.fit, jobs, names=[f"{type(head).__name__.lower()}, seed {seed}" for seed in seeds])
    fitted = {i: learnt for run, part in zip(runs, parts, strict=True) for i, learnt in zip(run, part, strict=True)}
    return [fitted[i] for i in range(len(problems))]


@dataclass(frozen=True, eq=False)
class BlockJob:
    """Problems that are trained in one block, or one problem in several, as another process gets them."""

    head: Network
    problems: tuple[Problem, ...]
    flips: tuple[float, ...]
    starts: tuple[Mapping[str, Array] | None, ...]
    measured: bool

    def fit(self) -> list[Learnt]:
        """Train them as `train` does in its own process."""
        matrices = Matrices(torch_device())
        several = zip(self.problems, self.flips, self.starts, strict=True)
        with one_thread:
            prepared = [Prepared.of(self.head, p, matrices=matrices, flip=f, start=s) for p, f, s in several]
            return _fit(self.head, prepared, measured=self.measured)


def _runs(head: Network, prepared: Sequence[Prepared]) -> Iterator[list[int]]:
    """Yield the problems that are trained in one block, as many as fit, or one that needs several."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, p in enumerate(prepared):
        groups[p.source.key, *_shape(head, p), id(p.problem.pools)].append(i)
    for members in groups.values():
        whole = max(1, _size(head, prepared[members[0]]) // head.members)
        yield from (members[first : first + whole] for first in range(0, len(members), whole))


def _shape(head: Network, p: Prepared) -> tuple[int, int]:
    """Return the steps of an epoch and the pairs of a step.

    Few pairs get a batch of the next power of two, so that problems of nearly equal size share a shape.
    """
    batch = min(head.batch_size, 1 << (len(p) - 1).bit_length())
    return math.ceil(len(p) / batch), batch


def _size(head: Network, p: Prepared) -> int:
    """Return how many replicates are a block."""
    bytes_of_block = BLOCK_BYTES if p.source.device.type == "cpu" else ACCELERATOR_BLOCK_BYTES
    size = max(1, bytes_of_block // (2 * _shape(head, p)[1] * bytes_per_text(head, p.source.shape[1])))
    return math.ceil(size / head.members) * head.members if head.diversity.together else size


def _fit(head: Network, prepared: Sequence[Prepared], *, measured: bool) -> list[Learnt]:
    """Train the problems of a run."""
    replicates = [Replicate.of(head, p, k) for p in prepared for k in range(head.members)]
    steps, batch = _shape(head, prepared[0])
    size = _size(head, prepared[0])
    trained: list[Trained] = []
    for first in range(0, len(replicates), size):
        block = Block(head, replicates[first : first + size], steps=steps, batch=batch)
        trained += block.run()
    precision = str(block.dtype).removeprefix("torch.")
    parts = [trained[first : first + head.members] for first in range(0, len(trained), head.members)]
    return [
        _collect(head, p, own, precision=precision, measured=measured) for p, own in zip(prepared, parts, strict=True)
    ]


@torch.no_grad()
def _collect(head: Network, prepared: Prepared, trained: list[Trained], *, precision: str, measured: bool) -> Learnt:
    """Join the members of one problem, the features' scaling inside their input layers."""
    params = {name: torch.stack([t.params[name] for t in trained]) for name in trained[0].params}
    source = prepared.source
    nothing: tuple[Array, dict[str, Any]] = np.zeros(len(trained)), {}
    reference, rewards = _measured(head, prepared, params) if measured else nothing
    record = {
        "device": source.device.type,
        "precision": precision,
        "pairs": len(prepared.pairs),
        "validation_pairs": 0 if prepared.validation is None else prepared.validation[1].index.shape[1],
        **({"flip_rate": prepared.flip} if isinstance(head.loss, FlipAware) else {}),
        **{key: [t.record[key] for t in trained] for key in ("epochs", "best_epoch", "validation_loss")},
        **rewards,
    }
    return Learnt(
        width=source.shape[1],
        embedder=prepared.pairs.features.embedder,
        reference=reference,
        record=record,
        params={name: p.cpu().numpy() for name, p in params.items()},
    )


def _measured(head: Network, prepared: Prepared, params: Params) -> tuple[Array, dict[str, Any]]:
    """Return the mean reward of the training texts `(members,)`, and what the record says of their rewards."""
    used, source = prepared.used, prepared.source
    reward = torch.cat([head.decode(params, z).cpu() for z in encode_rows(head, params, source, used)], dim=1)
    rewards: dict[str, Any] = {"sd": reward.std(dim=1).tolist()}
    if type(head).report is not Network.report:
        some = torch.from_numpy(used[:: max(1, len(used) // REPORTED)]).to(source.device)
        rewards |= head.report(head.encode(params, source.gather(some)))
    # Of a logit no offset is free.
    return np.asarray(reward.double().mean(dim=1).numpy()) * (not head.loss.fixes_offset), rewards
