"""Replicates that are trained together, and their negative ELBO.

Members and problems are trained as one batch: a step on a small head costs more in calls than in arithmetic. Each
replicate draws its initialisation, order and noise from a generator of its own, and losses are summed over replicates:
a replicate's result does not depend on its neighbours. The ELBO is written out, as a step of Pyro takes longer than the
arithmetic of a small head; the heads' programs of Pyro (`Inform.model`, `Bnrm.model`) have the same, which tests hold
to 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from embrm.core.progress import tracked
from embrm.errors import ConvergenceError
from embrm.heads.gradient.early_stopping import EarlyStopping, Trained
from embrm.heads.gradient.layers import Batch
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.parameters import Parameters, annealed
from embrm.heads.gradient.pools import PoolDraws
from embrm.heads.gradient.precision import input_dtype
from embrm.heads.gradient.replicates import Replicate, as_batch
from embrm.heads.gradient.scaled import ScaledRows

STEPS = 256  # whose rows are laid out at once
SMALL = 4096  # parameters of a replicate, below which a step costs its calls and not its arithmetic


class StepInputs(NamedTuple):
    """What a step reads: standardised features `(R, texts, d)` of pairs and of pools, numbers of the pairs, noise."""

    x: Tensor
    pool: Tensor
    batch: Batch
    noise: Tensor


class Block:
    """Replicates that are trained together; they share a source, a number of steps and a batch size."""

    def __init__(self, head: Network, replicates: list[Replicate], *, steps: int, batch: int) -> None:
        self.head, self.replicates, self.steps, self.batch = head, replicates, steps, batch
        self.at = torch.arange(len(replicates))  # which of those that the block began with are still in it
        first = replicates[0].prepared
        self.source, device = first.source, first.source.device
        self.flip = torch.tensor([[r.prepared.flip] for r in replicates]).to(device)
        width = self.source.shape[1]
        layout = head.parameters(width)
        start = {name: [r.initial(name, init) for r in replicates] for name, init in layout.items()}
        self.params = Parameters({name: torch.stack(values).to(device) for name, values in start.items()})
        self.mean = torch.stack([r.prepared.mean for r in replicates]).to(device)
        self.inverse = 1 / torch.stack([r.prepared.scale for r in replicates]).to(device)
        dtype = torch.float32
        if head.rounds:
            dtype = input_dtype(device, width=width, hidden=layout["input.weight"].shape[-1])
        self.rows = {p: ScaledRows(p, dtype=dtype) for p in {r.prepared: None for r in replicates}}
        self.dtype = dtype
        self.pools: PoolDraws | None = None
        if head.pessimism and first.problem.pools:
            draws = head.pessimism.draws
            self.pools = PoolDraws(first.problem.pools, head.view, first.source.matrices, draws=draws)

    def run(self) -> list[Trained]:
        """Train, and return what came out of each replicate.

        Raises:
            ConvergenceError: the loss stopped being finite; nothing is returned.
        """
        head, done, last = self.head, 0, math.nan
        warm = head.warm_up * self.steps
        best = EarlyStopping(head, self.replicates, self.params.values)
        for epoch in tracked(range(head.epochs), "epochs"):
            for number, step in enumerate(self._epoch()):
                loss = self.loss(step, charged=min(1.0, done / warm) if warm else 1.0)
                value = loss.item()
                if not math.isfinite(value):
                    raise ConvergenceError(
                        f"the loss is {value} at epoch {epoch + 1}, step {number + 1} (last finite value {last:.4g} "
                        f"over {len(self.replicates)} fits); lower the learning rate or scale the features"
                    )
                last = value
                rate = annealed(head.learning_rate, done=done, steps=head.epochs * self.steps)
                self.params.step(loss, learning_rate=rate, weight_decay=head.weight_decay)
                done += 1
            running = best.update(epoch, self.params.folded(self.mean, self.inverse), of=self.at)
            if not running.any():
                break
            self._leave_out(~running[self.at])
        if not all(bool(p.isfinite().all()) for p in best.params.values()):
            raise ConvergenceError(
                f"the parameters are not finite after {epoch + 1} epochs (last finite loss {last:.4g} over "
                f"{len(self.replicates)} fits); lower the learning rate or scale the features"
            )
        return best.results()

    def _leave_out(self, stopped: Tensor) -> None:
        """Go on without the replicates `(R,)` that have stopped: a step costs as much as it has replicates.

        Two stay at least, where there were two: the products of one are rounded otherwise.
        """
        if self.head.diversity.together or self.params.each < SMALL:
            return
        if len(stopped) - stopped.sum() == 1:
            stopped[stopped.int().argmax()] = False
        if not stopped.any():
            return
        stay = (~stopped).nonzero()[:, 0]
        self.replicates, self.at = [self.replicates[i] for i in stay], self.at[stay]
        stay = stay.to(self.flip.device)
        self.flip, self.mean, self.inverse = (x[stay] for x in (self.flip, self.mean, self.inverse))
        self.params = self.params.take(stay)

    def _epoch(self) -> Iterator[StepInputs]:
        head, count, texts, device = self.head, len(self.replicates), 2 * self.batch, self.source.device
        orders = [r.order(self.steps, self.batch) for r in self.replicates]
        tables = [self.rows[r.prepared] for r in self.replicates]
        width = self.source.shape[1]
        pooled = self.pools.texts if self.pools else 0
        x, pool = (torch.empty(count, n, width, device=device, dtype=self.dtype) for n in (texts, pooled))
        noise = torch.empty(count, *head.noise_shape(texts))  # drawn on the CPU: the same numbers on every device
        for some in zip(*(o.split(STEPS) for o in orders), strict=True):
            rows = torch.stack([table.index[:, o] for table, o in zip(tables, some, strict=True)], dim=2)
            numbers = torch.stack(
                [r.prepared.train.numbers[:, o] for r, o in zip(self.replicates, some, strict=True)], dim=2
            ).to(device)  # rows (2, steps, R, B), numbers (3 + c, steps, R, B)
            index = rows.permute(1, 2, 0, 3).reshape(-1, count, texts).to(device)
            for s in range(len(index)):
                for i, (replicate, table) in enumerate(zip(self.replicates, tables, strict=True)):
                    table.gather(index[s, i], out=x[i])
                    if noise.numel():
                        torch.randn(noise.shape[1:], generator=replicate.generator, out=noise[i])
                    if self.pools:
                        table.scale(self.pools.gather(replicate.generator), out=pool[i])
                yield StepInputs(x, pool, as_batch(numbers[:, s], self.flip), noise.to(device))

    def loss(self, step: StepInputs, *, charged: float = 1.0) -> Tensor:
        """Return the negative ELBO of the batch, summed over replicates, averaged over pairs.

        Args:
            step: what it reads.
            charged: share of the price of the latent's nats; it rises during the warm-up.
        """
        head, params = self.head, self.params.values
        latent = head.encode(params, step.x)
        z, kl = latent.draw(step.noise, priced=head.kl_scale() > 0)
        total = head.objective(params, latent, z, step.batch).sum()
        if kl is not None:
            total = torch.add(total, kl.sum(), alpha=charged * head.kl_scale() / self.batch)
        if head.pessimism:
            total = total + head.pessimism.price(head.decode(params, head.encode(params, step.pool).loc)).sum()
        return total
