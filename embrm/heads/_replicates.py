"""What the training loop batches: problems, split and scaled, and their members with randomness of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embrm.heads._net import GradientHead
from embrm.heads._split import bootstrap_prompts, hold_out, moments, rows_of, targets
from embrm.types import Array, IntArray, Pairs, Problem


def floats(x: Array) -> Tensor:
    """Return a float32 tensor."""
    return torch.from_numpy(x.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Prepared:
    """One problem, split and scaled, with its pairs as tensors."""

    problem: Problem
    train: Pairs
    validation: Pairs | None
    mean: Tensor
    scale: Tensor
    rows: Tensor  # (2, n) chosen and rejected
    numbers: Tensor  # (3, n) weight, target, margin
    rows_used: IntArray

    @classmethod
    def of(cls, head: GradientHead, problem: Problem) -> Prepared:
        """Split by prompt where the head stops early, and measure the scale of the training texts."""
        if head.patience:
            train, validation = hold_out(problem, fraction=head.validation_fraction, view=head.view)
        else:
            train, validation = problem.pairs, None
        used = rows_of(train)
        mean, scale = moments(train.features.matrix(head.view), used)
        rows = torch.from_numpy(np.stack([train.chosen, train.rejected]))
        numbers = torch.from_numpy(np.stack(targets(train)).astype(np.float32))
        return cls(problem, train, validation, floats(mean), floats(scale), rows, numbers, used)


@dataclass(eq=False)
class Replicate:
    """One member of one problem: what is random about it."""

    prepared: Prepared
    generator: torch.Generator
    resample: Tensor | None

    @classmethod
    def of(cls, head: GradientHead, prepared: Prepared, member: int) -> Replicate:
        """Seed the member's generator from the problem's seed and the member's number."""
        sequence = np.random.SeedSequence([prepared.problem.seed, member])
        state = int(sequence.generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(state)
        resample = None
        if head.diversity == "bootstrap":
            resample = torch.from_numpy(bootstrap_prompts(prepared.train, np.random.default_rng(sequence)))
        return cls(prepared, generator, resample)

    def order(self, steps: int, batch: int) -> Tensor:
        """Return the pairs of one epoch, `(steps, batch)`: every pair once, then the first few of another order."""
        n = self.prepared.rows.shape[1]
        rounds = [torch.randperm(n, generator=self.generator) for _ in range(math.ceil(steps * batch / n))]
        index = torch.cat(rounds)[: steps * batch].view(steps, batch)
        return index if self.resample is None else self.resample[index]
