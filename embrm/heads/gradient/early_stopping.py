"""Early stopping: the best parameters of each replicate by the validation loss of its own problem."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from embrm.core.arrays import IntArray
from embrm.heads.gradient.layers import Params
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.replicates import PairRows, Replicate
from embrm.heads.gradient.rows import RowSource

TOLERANCE = 1e-4  # a validation loss must fall by more than this share to count as better
CHUNK_BYTES = 16 << 20  # of activations that scoring may hold at once
VALIDATED_BYTES = 256 << 20  # of activations of validation pairs


class EarlyStopping:
    """The best parameters of each replicate of a block so far."""

    def __init__(self, head: Network, replicates: list[Replicate], params: Params) -> None:
        self.head = head
        count = len(replicates)
        self.loss = torch.full((count,), math.inf)
        self.epoch = torch.zeros(count, dtype=torch.int64)
        self.running = torch.ones(count, dtype=torch.bool)
        self.epochs = torch.zeros(count, dtype=torch.int64)
        self.params = {name: p.detach().clone() for name, p in params.items()}
        self.prepared = [replicate.prepared for replicate in replicates]

    @torch.no_grad()
    def update(self, epoch: int, params: Params, *, of: Tensor) -> Tensor:
        """Look at replicates after an epoch, and return which of all `(R,)` are still running.

        Args:
            epoch: counted from 0.
            params: of those that are looked at.
            of: their numbers, rising; the others have stopped before.
        """
        now = torch.full_like(self.loss, math.nan)
        # Replicates of one problem are neighbours: their validation texts are scored in one product.
        for prepared, members in groupby(range(len(of)), key=lambda i: self.prepared[of[i]]):
            if prepared.validation is not None:
                some = list(members)
                part = {name: p[some[0] : some[-1] + 1] for name, p in params.items()}
                now[of[some]] = validation_loss(self.head, part, *prepared.validation, prepared.flip).cpu()
        # Without validation pairs the last epoch is the best, and the first after the warm-up always is.
        better = now.isnan() | (now < self.loss - TOLERANCE * self.loss.abs()) | (epoch <= self.head.warm_up)
        better &= self.running
        for name, p in params.items():
            self.params[name][better.to(p.device)] = p[better[of].to(p.device)]
        self.loss = torch.where(better, now, self.loss)
        self.epochs += self.running
        self.epoch = torch.where(better, epoch + 1, self.epoch)
        if self.head.patience:
            self.running &= epoch + 1 - self.epoch < self.head.patience
        return self.running

    def results(self) -> list[Trained]:
        """Return what came out of each replicate."""
        return [
            Trained(
                params={name: p[i] for name, p in self.params.items()},
                record={
                    "best_epoch": int(self.epoch[i]),
                    "epochs": int(self.epochs[i]),
                    "validation_loss": None if self.loss[i].isnan() else float(self.loss[i]),
                },
            )
            for i in range(len(self.loss))
        ]


@dataclass(frozen=True, eq=False)
class Trained:
    """One replicate's best parameters, and what its training saw."""

    params: dict[str, Tensor]
    record: dict[str, int | float | None]


def encode_rows(head: Network, params: Params, source: RowSource, rows: IntArray) -> Iterator[Tensor]:
    """Yield the location of the latents `(R, rows, k)` in chunks that stay small."""
    chunk = max(64, CHUNK_BYTES // bytes_per_text(head, source.shape[1]) // len(next(iter(params.values()))))
    index = torch.from_numpy(rows).to(source.device)
    return (head.encode(params, source.gather(i)).loc for i in torch.split(index, chunk))


def bytes_per_text(head: Network, width: int) -> int:
    """Return about how many bytes of features and activations one text of one replicate holds in a step."""
    layers = sum(init.shape[-1] for init in head.parameters(width).values() if len(init.shape) == 2)
    return 4 * (width + 4 * layers)


def validation_loss(head: Network, params: Params, source: RowSource, pairs: PairRows, flip: float) -> Tensor:
    """Return the weighted mean loss `(R,)` of validation pairs, without noise and without penalties.

    Many pairs are taken part by part: the latents of all their texts would be larger than what training holds.
    """
    replicates, shared = len(next(iter(params.values()))), torch.full((1, 1), flip, device=source.device)
    size = max(256, VALIDATED_BYTES // (2 * bytes_per_text(head, source.shape[1]) * replicates))
    total = torch.zeros(replicates, device=source.device)
    for part in pairs.split(size):
        rows, inverse = np.unique(part.index.numpy(), return_inverse=True)
        latents = torch.cat(list(encode_rows(head, params, source, rows)), dim=1)
        z = latents[:, torch.from_numpy(inverse.ravel()).to(source.device)]
        batch = part.batch(shared)
        loss = head.preference(params, z, head.diversity.likely(head.decode(params, z), head.members), batch)
        total += (batch.weight * loss).mean(dim=1) * (part.index.shape[1] / pairs.index.shape[1])
    return total
