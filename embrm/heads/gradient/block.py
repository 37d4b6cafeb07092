"""Replicates that are trained together, and their negative ELBO in Pyro.

A step of Pyro costs milliseconds of Python for microseconds of arithmetic, so members and problems are trained as one
batch. Each replicate draws its initialisation, order and noise from a generator of its own, and losses are summed over
replicates: a replicate's result does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from embrm.errors import ConvergenceError
from embrm.heads.gradient.early_stopping import EarlyStopping, Trained
from embrm.heads.gradient.layers import Batch
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.pools import PoolDraws
from embrm.heads.gradient.pyro_sites import LatentSite, PriorSite
from embrm.heads.gradient.replicates import Replicate, as_batch


class StepInputs(NamedTuple):
    """What one step reads: features `(R, texts, d)` of pairs and then pools, numbers of the pairs, noise."""

    x: Tensor
    batch: Batch
    noise: Tensor


class Block:
    """Replicates that are trained together; they share a source, a number of steps and a batch size."""

    def __init__(self, head: Network, replicates: list[Replicate], *, steps: int, batch: int) -> None:
        self.head, self.replicates, self.steps, self.batch = head, replicates, steps, batch
        first = replicates[0].prepared
        self.source, device = first.source, first.source.device
        self.flip = torch.tensor([[r.prepared.flip] for r in replicates]).to(device)
        self.mean = torch.stack([r.prepared.mean for r in replicates]).to(device)
        self.inverse = 1 / torch.stack([r.prepared.scale for r in replicates]).to(device)
        self.params = {
            name: torch.stack([r.initial(name, init) for r in replicates]).to(device)
            for name, init in head.parameters(self.source.shape[1]).items()
        }
        self.pools: PoolDraws | None = None
        if head.pessimism and first.problem.pools:
            draws = head.pessimism.draws
            self.pools = PoolDraws(first.problem.pools, head.view, first.source.matrices, draws=draws)
        # What the graph reads: the parameters themselves, and the input layer with the features' scaling inside.
        self.leaves = {
            name: (torch.empty_like(p) if name.startswith("input.") else p).requires_grad_()
            for name, p in self.params.items()
        }

    @torch.no_grad()
    def fold(self) -> dict[str, Tensor]:
        """Put the features' scaling into the input layer that the graph reads: no scaled copy of the features."""
        weight, bias = self.leaves["input.weight"], self.leaves["input.bias"]
        torch.mul(self.inverse[:, :, None], self.params["input.weight"], out=weight.data)
        torch.baddbmm(self.params["input.bias"][:, None], self.mean[:, None], weight, alpha=-1, out=bias.data[:, None])
        return self.leaves

    @torch.no_grad()
    def unfold_gradients(self) -> None:
        """Carry the gradients of the folded input layer over to its parameters."""
        weight, bias = self.leaves["input.weight"].grad, self.leaves["input.bias"].grad
        assert weight is not None
        assert bias is not None
        weight.baddbmm_(self.mean[:, :, None], bias[:, None], alpha=-1).mul_(self.inverse[:, :, None])
        self.params["input.weight"].grad, self.params["input.bias"].grad = weight, bias

    def run(self) -> list[Trained]:
        """Train, and return what came out of each replicate.

        Raises:
            ConvergenceError: the loss stopped being finite; nothing is returned.
        """
        head = self.head
        weights = [p for name, p in self.params.items() if name.endswith("weight")]
        others = [p for name, p in self.params.items() if not name.endswith("weight")]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=head.learning_rate, weight_decay=head.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, head.epochs * self.steps)
        best = EarlyStopping(head, self.replicates, self.params)
        last = math.nan
        for epoch in range(head.epochs):
            for number, step in enumerate(self._epoch()):
                for leaf in self.leaves.values():
                    leaf.grad = None
                self.fold()
                loss = self.loss(step)
                value = loss.item()
                if not math.isfinite(value):
                    raise ConvergenceError(
                        f"the loss is {value} at epoch {epoch + 1}, step {number + 1} (last finite value {last:.4g} "
                        f"over {len(self.replicates)} fits); lower the learning rate or scale the features"
                    )
                last = value
                loss.backward()
                self.unfold_gradients()
                optimiser.step()
                schedule.step()
            if best.update(epoch, self.fold()):
                break
        if not all(bool(p.isfinite().all()) for p in best.params.values()):
            raise ConvergenceError(
                f"the parameters are not finite after {epoch + 1} epochs (last finite loss {last:.4g} over "
                f"{len(self.replicates)} fits); lower the learning rate or scale the features"
            )
        return best.results()

    def _epoch(self) -> Iterator[StepInputs]:
        head, count, texts, device = self.head, len(self.replicates), 2 * self.batch, self.source.device
        orders = [r.order(self.steps, self.batch) for r in self.replicates]
        rows = torch.stack([r.prepared.train.index[:, o] for r, o in zip(self.replicates, orders, strict=True)], dim=2)
        numbers = torch.stack(
            [r.prepared.train.numbers[:, o] for r, o in zip(self.replicates, orders, strict=True)], dim=2
        )  # rows (2, steps, R, B), numbers (3 + c, steps, R, B)
        rows, numbers = rows.to(device), numbers.to(device)
        pooled = self.pools.texts if self.pools else 0
        x = torch.empty(count, texts + pooled, self.source.shape[1], device=device)
        noise = torch.empty(count, *head.noise_shape(texts))  # drawn on the CPU: the same numbers on every device
        for s in range(self.steps):
            index = rows[:, s].movedim(0, 1).reshape(count, texts)
            for i, replicate in enumerate(self.replicates):
                self.source.gather(index[i], out=x[i, :texts])
                if noise.numel():
                    torch.randn(noise.shape[1:], generator=replicate.generator, out=noise[i])
                if self.pools:
                    self.pools.gather(replicate.generator, out=x[i, texts:])
            yield StepInputs(x, as_batch(numbers[:, s], self.flip), noise.to(device))

    def loss(self, step: StepInputs) -> Tensor:
        """Return the negative ELBO of the batch, summed over replicates, averaged over pairs."""
        head, params, texts = self.head, self.leaves, 2 * self.batch
        latent = head.encode(params, step.x[:, :texts])
        replicate = pyro.plate("replicate", len(self.replicates), dim=-2)
        text = pyro.plate("text", texts, dim=-1)
        beta = head.kl_scale()
        kl = poutine.scale(scale=(beta or 1.0) / self.batch)  # Pyro refuses a scale of 0, so 0 is a mask
        counted = poutine.mask(mask=beta > 0)

        def guide() -> None:
            if latent.stochastic:
                with replicate, text, kl, counted:
                    pyro.sample("z", LatentSite(latent, step.noise))

        def model() -> None:
            z = latent.loc
            if latent.stochastic:
                with replicate, text, kl, counted:
                    z = pyro.sample("z", PriorSite(latent.loc))
            total = head.objective(params, latent, z, step.batch).sum()
            if head.pessimism:
                pool = head.decode(params, head.encode(params, step.x[:, texts:]).loc)
                total = total + head.pessimism.price(pool).sum()
            pyro.factor("preference", -total)

        loss: Tensor = TraceMeanField_ELBO().differentiable_loss(model, guide)
        return loss
