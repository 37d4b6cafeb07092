"""The one training loop: stochastic variational inference over a plate of replicates, in Pyro."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyro
import torch

from embrm.device import torch_device
from embrm.errors import DataError
from embrm.heads._block import Block
from embrm.heads._flips import estimate_flip_rate
from embrm.heads._losses import NEED_FLIP_RATE
from embrm.heads._net import FittedNet, GradientHead
from embrm.heads._replicates import Prepared, Replicate
from embrm.heads._source import Matrices
from embrm.heads._split import hold_out, targets
from embrm.heads._stopping import Trained, bytes_per_text, encode_rows
from embrm.types import Array, Problem

# Gathered features and activations in a step: a block larger than a CPU's cache is slower, while an accelerator pays
# for its launches, whatever the block holds.
BLOCK_BYTES, ACCELERATOR_BLOCK_BYTES = 24 << 20, 1 << 30
REPORTED = 2048  # texts that a head's diagnostics look at


def train(
    head: GradientHead, problems: Sequence[Problem], *, start: Sequence[Mapping[str, Array]] | None = None
) -> list[FittedNet]:
    """Fit all problems; those that share features, steps an epoch and batch size are trained in common blocks.

    Args:
        head: the recipe.
        problems: what to fit.
        start: for each problem the parameters of a `FittedNet` to start from; None draws them.

    Raises:
        ConvergenceError: the loss stopped being finite.
        DataError: the flip rate must be estimated and no validation prompts exist, or pools are needed and missing.
    """
    flips = _flip_rates(head, problems)
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
    fitted: dict[int, FittedNet] = {}
    bytes_of_block = BLOCK_BYTES if matrices.device.type == "cpu" else ACCELERATOR_BLOCK_BYTES
    with pyro.get_param_store().scope(), pyro.validation_enabled(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]?inf)")  # the block raises an error of its own
        for (_, steps, batch, _), members in groups.items():
            replicates = [Replicate.of(head, prepared[i], k) for i in members for k in range(head.members)]
            size = max(1, bytes_of_block // (2 * batch * bytes_per_text(head, prepared[members[0]].source.shape[1])))
            if head.rank_bonus:  # the members of a problem are one likelihood
                size = math.ceil(size / head.members) * head.members
            trained: list[Trained] = []
            for first in range(0, len(replicates), size):
                trained += Block(head, replicates[first : first + size], steps=steps, batch=batch).run()
            for j, i in enumerate(members):
                fitted[i] = _collect(head, prepared[i], trained[j * head.members : (j + 1) * head.members])
    return [fitted[i] for i in range(len(problems))]


def _flip_rates(head: GradientHead, problems: Sequence[Problem]) -> list[float]:
    """Return the flip rate of each problem: given, or estimated on validation prompts with a first fit of "bt"."""
    if head.loss not in NEED_FLIP_RATE or head.flip_rate is not None:
        return [head.flip_rate or 0.0] * len(problems)
    split = []
    for problem in problems:
        pairs, validation = hold_out(problem, fraction=head.validation_fraction, view=head.view)
        if validation is None:
            raise DataError("the flip rate is estimated on validation prompts, and there are none; pass flip_rate=0.1")
        split.append(Problem(pairs, problem.seed, validation=validation, pools=problem.pools))
    plain = dataclasses.replace(head, loss="bt", members=1, rank_bonus=0.0)
    rates = []
    for problem, model in zip(split, train(plain, split), strict=True):
        assert problem.validation is not None
        reward = model.score(problem.validation.features).draws[0]
        weight, target, margin = targets(problem.validation)
        z = reward[problem.validation.chosen] - reward[problem.validation.rejected] - margin
        rates.append(estimate_flip_rate(z, weight=weight * (target == 1)).rate)
    return rates


@torch.no_grad()
def _collect(head: GradientHead, prepared: Prepared, trained: list[Trained]) -> FittedNet:
    """Join the members of one problem, the features' scaling inside their input layers."""
    params = {name: torch.stack([t.params[name] for t in trained]) for name in trained[0].params}
    used, source = prepared.used, prepared.source
    some = torch.from_numpy(used[:: max(1, len(used) // REPORTED)]).to(source.device)
    shown = head.encode(params, source.gather(some))
    reward = torch.cat([head.decode(params, z).cpu() for z in encode_rows(head, params, source, used)], dim=1)
    record = {
        "device": source.device.type,
        "pairs": len(prepared.pairs),
        "validation_pairs": 0 if prepared.validation is None else prepared.validation[1].index.shape[1],
        **({"flip_rate": prepared.flip} if head.loss in NEED_FLIP_RATE else {}),
        **{key: [t.record[key] for t in trained] for key in ("epochs", "best_epoch", "validation_loss")},
        "sd": reward.std(dim=1).tolist(),
        **head.report(shown),
    }
    return FittedNet(
        head=head,
        width=source.shape[1],
        embedder=prepared.pairs.features.embedder,
        reference=np.asarray(reward.double().mean(dim=1).numpy()),
        record=record,
        params={name: p.cpu().numpy() for name, p in params.items()},
    )
