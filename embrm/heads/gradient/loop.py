"""The one training loop: stochastic variational inference of replicates in blocks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from embrm.core.arrays import Array
from embrm.core.data import Problem, Provenance
from embrm.core.device import torch_device
from embrm.heads.gradient.block import Block
from embrm.heads.gradient.early_stopping import Trained, bytes_per_text, encode_rows
from embrm.heads.gradient.losses import FlipAware
from embrm.heads.gradient.network import Network
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
        reference: `(members,)` mean reward of the training texts.
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
) -> list[Learnt]:
    """Fit all problems; those that share features, steps an epoch and batch size are trained in common blocks.

    Args:
        head: the recipe.
        problems: what to fit.
        flips: for each problem the share of labels that its loss takes to be flipped.
        start: for each problem the parameters to start from, `(members, ...)` each; None draws them.

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
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, p in enumerate(prepared):
        # Few pairs get a batch of the next power of two, so that problems of nearly equal size share a shape.
        batch = min(head.batch_size, 1 << (len(p) - 1).bit_length())
        groups[p.source.key, math.ceil(len(p) / batch), batch, id(p.problem.pools)].append(i)
    fitted: dict[int, Learnt] = {}
    bytes_of_block = BLOCK_BYTES if matrices.device.type == "cpu" else ACCELERATOR_BLOCK_BYTES
    for (_, steps, batch, _), members in groups.items():
        replicates = [Replicate.of(head, prepared[i], k) for i in members for k in range(head.members)]
        size = max(1, bytes_of_block // (2 * batch * bytes_per_text(head, prepared[members[0]].source.shape[1])))
        if head.diversity.together:
            size = math.ceil(size / head.members) * head.members
        trained: list[Trained] = []
        for first in range(0, len(replicates), size):
            block = Block(head, replicates[first : first + size], steps=steps, batch=batch)
            trained += block.run()
        for j, i in enumerate(members):
            own = trained[j * head.members : (j + 1) * head.members]
            fitted[i] = _collect(head, prepared[i], own, precision=str(block.dtype).removeprefix("torch."))
    return [fitted[i] for i in range(len(problems))]


@torch.no_grad()
def _collect(head: Network, prepared: Prepared, trained: list[Trained], *, precision: str) -> Learnt:
    """Join the members of one problem, the features' scaling inside their input layers."""
    params = {name: torch.stack([t.params[name] for t in trained]) for name in trained[0].params}
    used, source = prepared.used, prepared.source
    some = torch.from_numpy(used[:: max(1, len(used) // REPORTED)]).to(source.device)
    shown = head.encode(params, source.gather(some))
    reward = torch.cat([head.decode(params, z).cpu() for z in encode_rows(head, params, source, used)], dim=1)
    record = {
        "device": source.device.type,
        "precision": precision,
        "pairs": len(prepared.pairs),
        "validation_pairs": 0 if prepared.validation is None else prepared.validation[1].index.shape[1],
        **({"flip_rate": prepared.flip} if isinstance(head.loss, FlipAware) else {}),
        **{key: [t.record[key] for t in trained] for key in ("epochs", "best_epoch", "validation_loss")},
        "sd": reward.std(dim=1).tolist(),
        **head.report(shown),
    }
    return Learnt(
        width=source.shape[1],
        embedder=prepared.pairs.features.embedder,
        reference=np.asarray(reward.double().mean(dim=1).numpy()),
        record=record,
        params={name: p.cpu().numpy() for name, p in params.items()},
    )
