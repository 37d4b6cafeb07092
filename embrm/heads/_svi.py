"""The one training loop: stochastic variational inference over a plate of replicates, in Pyro.

A step of Pyro costs milliseconds of Python for microseconds of arithmetic, so members and problems are trained as one
batch. Each replicate draws its initialisation, order and noise from a generator of its own, and losses are summed over
replicates: a replicate's result does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import register_kl

from embrm.errors import ConvergenceError
from embrm.heads._head import FittedHead
from embrm.heads._losses import preference_loss
from embrm.heads._net import FittedNet, GradientHead, Latent, Params
from embrm.heads._replicates import Prepared, Replicate, floats
from embrm.heads._split import targets
from embrm.types import IntArray, Pairs, Problem

BLOCK_BYTES = 192 << 20  # of gathered features and activations that one block of replicates may hold
TOLERANCE = 1e-4  # a validation loss must fall by more than this share to count as better


class _Latent(dist.Normal):
    """A latent of the encoder: it reads its noise, because `pyro.sample` would draw from the global generator."""

    def __init__(self, latent: Latent, noise: Tensor) -> None:
        self.latent, self.noise = latent, noise
        scale = torch.ones_like(latent.loc) if latent.log_variance is None else torch.exp(0.5 * latent.log_variance)
        super().__init__(latent.loc, scale, validate_args=False)

    def expand(self, batch_shape: object, _instance: object = None) -> _Latent:
        return self  # it is made with the shape of its plates

    def rsample(self, sample_shape: object = None) -> Tensor:
        return self.loc + self.scale * self.noise

    def log_prob(self, value: Tensor) -> Tensor:
        # The mean-field ELBO takes this site's KL in closed form; the density that tracing asks for is not used.
        return torch.zeros((), device=value.device).expand(value.shape)


class _Prior(dist.Normal):
    """The standard normal prior of a latent; its density is not used either."""

    def expand(self, batch_shape: object, _instance: object = None) -> _Prior:
        return self

    log_prob = _Latent.log_prob


@register_kl(_Latent, _Prior)  # type: ignore[untyped-decorator]
def _kl(latent: _Latent, _: _Prior) -> Tensor:
    return latent.latent.kl()


def train(head: GradientHead, problems: Sequence[Problem]) -> list[FittedHead]:
    """Fit all problems; those that share features, steps an epoch and batch size are trained as one batch."""
    prepared = [Prepared.of(head, problem) for problem in problems]
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, p in enumerate(prepared):
        n = len(p.train)
        # Few pairs get a batch of the next power of two, so that problems of nearly equal size share a shape.
        batch = min(head.batch_size, 1 << (n - 1).bit_length())
        groups[id(p.train.features.matrix(head.view)), math.ceil(n / batch), batch].append(i)
    fitted: dict[int, FittedHead] = {}
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for (_, steps, batch), members in groups.items():
            x = torch.from_numpy(prepared[members[0]].train.features.matrix(head.view))
            replicates = [Replicate.of(head, prepared[i], k) for i in members for k in range(head.members)]
            size = max(1, BLOCK_BYTES // _bytes_per_replicate(head, x.shape[1], batch))
            blocks = [_Block(head, x, replicates[s : s + size], steps, batch) for s in range(0, len(replicates), size)]
            results = [result for block in blocks for result in block.run()]
            for j, i in enumerate(members):
                fitted[i] = _collect(head, prepared[i], results[j * head.members : (j + 1) * head.members])
    return [fitted[i] for i in range(len(problems))]


def _bytes_per_replicate(head: GradientHead, width: int, batch: int) -> int:
    layers = sum(init.shape[-1] for init in head.parameters(width).values() if len(init.shape) == 2)
    return 4 * 2 * batch * (width + 4 * layers)


class _Block:
    """Replicates that are trained together."""

    def __init__(self, head: GradientHead, x: Tensor, replicates: list[Replicate], steps: int, batch: int) -> None:
        self.head, self.x, self.replicates, self.steps, self.batch = head, x, replicates, steps, batch
        self.mean = torch.stack([r.prepared.mean for r in replicates])
        self.inverse = 1 / torch.stack([r.prepared.scale for r in replicates])
        self.params = {
            name: torch.stack([self._initial(r.generator, *init) for r in replicates]).requires_grad_()
            for name, init in head.parameters(x.shape[1]).items()
        }

    @staticmethod
    def _initial(generator: torch.Generator, shape: tuple[int, ...], bound: float, zeros: int) -> Tensor:
        out = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        out[..., shape[-1] - zeros :] = 0
        return out

    def folded(self) -> dict[str, Tensor]:
        """Return the parameters with the features' scaling inside the input layer: no scaled copy of the features."""
        weight = self.inverse[:, :, None] * self.params["input.weight"]
        bias = self.params["input.bias"] - torch.bmm(self.mean[:, None, :], weight).squeeze(1)
        return {**self.params, "input.weight": weight, "input.bias": bias}

    def run(self) -> list[dict[str, Any]]:
        """Train and return, for each replicate, its parameters and its record."""
        head = self.head
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in self.params.items() if name.endswith("weight")]},
            {"params": [p for name, p in self.params.items() if not name.endswith("weight")], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(
            groups,
            lr=head.learning_rate,
            weight_decay=head.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, head.epochs * self.steps)
        best = _Best(self)
        last = math.nan
        for epoch in range(head.epochs):
            for step, batch in enumerate(self._batches()):
                optimiser.zero_grad()
                loss = self._loss(batch)
                if not math.isfinite(loss.item()):
                    raise ConvergenceError(
                        f"the loss is {loss.item()} at epoch {epoch + 1}, step {step + 1} (last finite value "
                        f"{last:.4g} over {len(self.replicates)} fits); lower the learning rate or scale the features"
                    )
                last = loss.item()
                loss.backward()
                optimiser.step()
                schedule.step()
            if best.update(epoch):
                break
        return best.results()

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield one epoch of (features (R, 2B, d), numbers (3, R, B), noise or None)."""
        orders = [r.order(self.steps, self.batch) for r in self.replicates]
        rows = torch.stack([r.prepared.rows[:, o] for r, o in zip(self.replicates, orders, strict=True)])
        numbers = torch.stack([r.prepared.numbers[:, o] for r, o in zip(self.replicates, orders, strict=True)])
        count, width = len(self.replicates), self.x.shape[1]
        buffer = torch.empty(count * 2 * self.batch, width)
        for s in range(self.steps):
            index = rows[:, :, s].reshape(-1)
            torch.index_select(self.x, 0, index, out=buffer)
            yield buffer.view(count, 2 * self.batch, width), numbers[:, :, s].movedim(1, 0), self._noise()

    def _noise(self) -> Tensor:
        shape = (2 * self.batch, self.head.noise_dim())
        return torch.stack([torch.randn(shape, generator=r.generator) for r in self.replicates])

    def _loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the negative ELBO of the batch, summed over replicates, averaged over pairs."""
        x, (weight, target, margin), noise = batch
        params = self.folded()
        latent = self.head.encode(params, x)
        replicate = pyro.plate("replicate", len(self.replicates), dim=-2)
        text = pyro.plate("text", 2 * self.batch, dim=-1)
        beta = self.head.kl_scale()
        kl = poutine.scale(scale=(beta or 1.0) / self.batch)  # Pyro refuses a scale of 0, so 0 is a mask
        counted = poutine.mask(mask=beta > 0)

        def guide() -> None:
            if latent.log_variance is not None:
                with replicate, text, kl, counted:
                    pyro.sample("z", _Latent(latent, noise).to_event(1))  # type: ignore[no-untyped-call]

        def model() -> None:
            z = latent.loc
            if latent.log_variance is not None:
                with replicate, text, kl, counted:
                    z = pyro.sample("z", _Prior(torch.zeros_like(z), 1.0, validate_args=False).to_event(1))  # type: ignore[no-untyped-call]
            reward = self.head.decode(params, z)
            chosen, rejected = reward[:, : self.batch], reward[:, self.batch :]
            per_pair = weight * preference_loss(self.head.loss, chosen, rejected, target, margin)
            total = per_pair.mean(dim=1) + self.head.centre * ((chosen + rejected) ** 2).mean(dim=1)
            extra = self.head.extra_loss(latent)
            pyro.factor("preference", -(total if extra is None else total + extra).sum())

        elbo = TraceMeanField_ELBO()
        loss: Tensor = elbo.differentiable_loss(model, guide)
        return loss


class _Best:
    """The best parameters of each replicate of a block so far, by the validation loss of its own problem."""

    def __init__(self, block: _Block) -> None:
        self.block = block
        count = len(block.replicates)
        self.loss = torch.full((count,), math.inf)
        self.epoch = torch.zeros(count, dtype=torch.int64)
        self.running = torch.ones(count, dtype=torch.bool)
        self.epochs = torch.zeros(count, dtype=torch.int64)
        self.params = {name: p.detach().clone() for name, p in block.params.items()}
        # Replicates of one problem are neighbours: their validation texts are scored in one product.
        self.runs = [
            (prepared, slice(rows[0], rows[-1] + 1))
            for prepared, rows in (
                (key, [i for i, r in enumerate(block.replicates) if r.prepared is key])
                for key in dict.fromkeys(r.prepared for r in block.replicates)
            )
        ]

    @torch.no_grad()
    def update(self, epoch: int) -> bool:
        """Look at the replicates after an epoch; return True when all of them have stopped."""
        head, params = self.block.head, self.block.folded()
        now = torch.full_like(self.loss, math.nan)
        for prepared, members in self.runs:
            if prepared.validation is not None:
                now[members] = _validation_loss(head, {k: v[members] for k, v in params.items()}, prepared.validation)
        better = self.running & (now.isnan() | (now < self.loss - TOLERANCE * self.loss.abs().nan_to_num(posinf=0.0)))
        for name, p in params.items():
            self.params[name][better] = p[better]
        self.loss = torch.where(better, now, self.loss)
        self.epochs += self.running
        self.epoch = torch.where(better, epoch + 1, self.epoch)
        if head.patience:
            self.running &= epoch + 1 - self.epoch < head.patience
        return not self.running.any()

    def results(self) -> list[dict[str, Any]]:
        """Return parameters and record of each replicate."""
        return [
            {
                "params": {name: p[i] for name, p in self.params.items()},
                "best_epoch": int(self.epoch[i]),
                "epochs": int(self.epochs[i]),
                "validation_loss": None if self.loss[i].isnan() else float(self.loss[i]),
            }
            for i in range(len(self.loss))
        ]


def _rewards(head: GradientHead, params: Params, x: Tensor, rows: IntArray) -> Tensor:
    """Return `(R, rows)` rewards, scored in chunks that stay small."""
    replicates = len(next(iter(params.values())))
    chunk = max(64, BLOCK_BYTES // _bytes_per_replicate(head, x.shape[1], 1) // replicates)
    index = torch.from_numpy(rows)
    return torch.cat([head.decode(params, head.encode(params, x[i]).loc) for i in torch.split(index, chunk)], dim=1)


def _validation_loss(head: GradientHead, params: Params, validation: Pairs) -> Tensor:
    """Return the Bradley–Terry loss `(R,)` on validation pairs."""
    rows, inverse = np.unique(np.stack([validation.chosen, validation.rejected]), return_inverse=True)
    reward = _rewards(head, params, torch.from_numpy(validation.features.matrix(head.view)), rows)
    weight, target, margin = (floats(a) for a in targets(validation))
    chosen, rejected = reward[:, inverse[0]], reward[:, inverse[1]]
    return (weight * preference_loss(head.loss, chosen, rejected, target, margin)).mean(dim=1)


@torch.no_grad()
def _collect(head: GradientHead, prepared: Prepared, results: list[dict[str, Any]]) -> FittedNet:
    """Join the members of one problem."""
    params = {name: torch.stack([r["params"][name] for r in results]) for name in results[0]["params"]}
    matrix = prepared.train.features.matrix(head.view)
    x = torch.from_numpy(matrix)
    latent = head.encode(params, x[torch.from_numpy(prepared.rows_used[:: max(1, len(prepared.rows_used) // 2048)])])
    record = {
        "pairs": len(prepared.train),
        "validation_pairs": 0 if prepared.validation is None else len(prepared.validation),
        **{key: [r[key] for r in results] for key in ("epochs", "best_epoch", "validation_loss")},
        **head.report(latent),
    }
    return FittedNet(
        head=head,
        width=matrix.shape[1],
        embedder=prepared.train.features.embedder,
        reference=_rewards(head, params, x, prepared.rows_used).double().mean(dim=1).numpy(),
        record=record,
        params={name: p.numpy() for name, p in params.items()},
    )
