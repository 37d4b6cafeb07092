"""What the training loop batches: problems, split and scaled, and their members with randomness of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs, Problem
from embrm.errors import DataError
from embrm.heads.gradient.layers import Batch, Init
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.rows import Crossed, Matrices, RowSource
from embrm.heads.gradient.split import bootstrap_prompts, hold_out, moments, targets


def floats(x: Array) -> Tensor:
    """Return a float32 tensor."""
    return torch.from_numpy(x.astype(np.float32))


@dataclass(frozen=True, eq=False)
class PairRows:
    """Pairs as the loop reads them, on the CPU: their orders are drawn there.

    Attributes:
        index: `(2, n)` rows of the source: chosen, rejected.
        numbers: `(3 + c, n)` weight, target, margin, and the head's own.
    """

    index: Tensor
    numbers: Tensor

    @classmethod
    def of(cls, head: Network, pairs: Pairs) -> PairRows:
        """Take the numbers of the pairs."""
        index = torch.from_numpy(np.stack([pairs.chosen, pairs.rejected]))
        return cls(index, floats(np.concatenate([np.stack(targets(pairs)), head.pair_numbers(pairs)])))

    def split(self, size: int) -> Iterator[PairRows]:
        """Yield the pairs in parts of at most `size`."""
        for index, numbers in zip(self.index.split(size, dim=1), self.numbers.split(size, dim=1), strict=True):
            yield PairRows(index, numbers)

    def batch(self, flip: Tensor) -> Batch:
        """Return all pairs as one batch that every replicate shares, on the device of `flip`."""
        return as_batch(self.numbers.to(flip.device), flip)

    def across_prompts(self, source: Crossed, prompt: IntArray, rng: np.random.Generator) -> PairRows:
        """Add for each pair that both texts beat a response to another prompt, under the pair's prompt.

        Raises:
            DataError: there is no other prompt.
        """
        own = self.index.numpy()
        if len(np.unique(prompt[own[0]])) < 2:
            raise DataError(
                "augment 'rrm' needs responses to other prompts, and all pairs belong to one; add pairs of others"
            )
        stranger = rng.choice(own.ravel(), size=own.shape)
        while (same := prompt[stranger] == prompt[own]).any():
            stranger[same] = rng.choice(own.ravel(), size=int(same.sum()))
        beaten = source.crossed_row(own, stranger)
        pairs = np.concatenate([own, np.stack([own[0], beaten[0]]), np.stack([own[1], beaten[1]])], axis=1)
        added = self.numbers.clone()
        added[1], added[2] = 1.0, 0.0  # a tie's texts beat strangers too; margins are about the pair
        return PairRows(torch.from_numpy(pairs), torch.cat([self.numbers, added, added], dim=1))


def as_batch(numbers: Tensor, flip: Tensor) -> Batch:
    """Return numbers `(3 + c, ...)` by name."""
    return Batch(numbers[0], numbers[1], numbers[2], numbers[3:], flip)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One problem, split and scaled, with its pairs as tensors.

    Attributes:
        pairs: the training pairs.
        source: what the rows index.
        train: the training pairs as rows, and those that augmentation adds.
        validation: the validation pairs and what they index, or None.
        mean, scale: `(d,)` of the training texts.
        used: the distinct training rows.
        flip: share of the labels that the loss takes to be flipped.
        start: parameters to start from, each `(members, ...)`, or None.
    """

    problem: Problem
    pairs: Pairs
    source: RowSource
    train: PairRows
    validation: tuple[RowSource, PairRows] | None
    mean: Tensor
    scale: Tensor
    used: IntArray
    flip: float
    start: Mapping[str, Array] | None

    @classmethod
    def of(
        cls,
        head: Network,
        problem: Problem,
        *,
        matrices: Matrices,
        flip: float,
        start: Mapping[str, Array] | None,
    ) -> Prepared:
        """Split by prompt where the head stops early, and measure the scale of the training texts.

        Raises:
            DataError: the head is pessimistic on pools, and the problem has none.
        """
        if head.pessimism and problem.pools is None:
            raise DataError("pessimism needs pools of candidates, and the problem has none; pass Problem(..., pools=…)")
        pairs, validation = problem.pairs, None
        if head.patience:
            pairs, validation = hold_out(problem, fraction=head.validation_fraction, view=head.view)
        source, used = RowSource.of(pairs.features, head.view, matrices), pairs.rows
        mean, scale = moments(source, used)
        train = PairRows.of(head, pairs)
        if head.augment == "rrm" and isinstance(source, Crossed):
            rng = np.random.default_rng([problem.seed, 0])
            train = train.across_prompts(source, pairs.features.prompt, rng)
        held = None
        if validation is not None:
            held = (RowSource.of(validation.features, head.view, matrices), PairRows.of(head, validation))
        return cls(problem, pairs, source, train, held, floats(mean), floats(scale), used, flip, start)

    def __len__(self) -> int:
        return self.train.index.shape[1]


@dataclass(eq=False)
class Replicate:
    """One member of one problem: what is random about it."""

    prepared: Prepared
    member: int
    generator: torch.Generator
    shuffler: torch.Generator
    resample: Tensor | None

    @classmethod
    def of(cls, head: Network, prepared: Prepared, member: int) -> Replicate:
        """Seed the member's generator from the problem's seed and the member's number."""
        sequence = np.random.SeedSequence([prepared.problem.seed, member])
        generator = _generator(sequence)
        # Members that are one likelihood must see the same pairs in a step.
        shuffler = _generator(np.random.SeedSequence([prepared.problem.seed])) if head.diversity.together else generator
        resample = None
        if head.diversity.resampled:
            drawn = torch.from_numpy(bootstrap_prompts(prepared.pairs, np.random.default_rng(sequence)))
            # Augmented pairs follow the pairs that they were made of.
            resample = torch.cat([drawn + i for i in range(0, len(prepared), len(prepared.pairs))])
        return cls(prepared, member, generator, shuffler, resample)

    def initial(self, name: str, init: Init) -> Tensor:
        """Return the start of a parameter, in the units of scaled features."""
        start = self.prepared.start
        if start is None:
            out = torch.empty(init.shape).uniform_(-init.bound, init.bound, generator=self.generator)
            out[..., init.shape[-1] - init.zeros :] = 0
            return out
        value = torch.from_numpy(start[name][self.member])
        if name == "input.weight":
            return value * self.prepared.scale[:, None]
        if name == "input.bias":
            return value + self.prepared.mean @ torch.from_numpy(start["input.weight"][self.member])
        return value.clone()

    def order(self, steps: int, batch: int) -> Tensor:
        """Return the pairs of one epoch, `(steps, batch)`: every pair once, then the first few of another order."""
        n = len(self.prepared)
        rounds = [torch.randperm(n, generator=self.shuffler) for _ in range(math.ceil(steps * batch / n))]
        index = torch.cat(rounds)[: steps * batch].view(steps, batch)
        return index if self.resample is None else self.resample[index]


def _generator(sequence: np.random.SeedSequence) -> torch.Generator:
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
