"""Optimising against a head in the world: the exact path over β, what is written on it, and best-of-n beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from embrm import bestofn
from embrm.bestofn.tilt import TiltPath
from embrm.core.arrays import Array, BoolArray
from embrm.demo.judge import Judge
from embrm.policies.pool import ProposalPool
from embrm.world.runs import path_rows
from embrm.world.world_sample import WorldSample

SIZES = (1, 2, 4, 8, 16, 32, 64)
CLOUD = 160  # points of each cloud
SHARES = (0.15, 0.5, 0.85)  # of the policy's texts by reward: a poor, a middling and a good one of them


@dataclass(frozen=True, eq=False)
class PathView:
    """The path of one head under one rule.

    Attributes:
        judge: the head.
        sample: the world.
        pool: its stratified pools, scored.
        reference_value: `(prompts, n)` the rule's values of π_ref's texts.
    """

    judge: Judge
    sample: WorldSample
    pool: ProposalPool
    reference_value: Array

    @classmethod
    def of(cls, judge: Judge, sample: WorldSample, *, rule: str) -> PathView:
        """Score the pools.

        Raises:
            OptionError: see `Judge.value`.
        """
        value = judge.value(judge.model.score(sample.proposals().features).centred(), rule)
        return cls(judge, sample, sample.proposal_pool(value), value[sample.reference_rows])

    @cached_property
    def path(self) -> TiltPath:
        """The path, as `embrm tilt` has it."""
        return self.pool.path()

    def curves(self) -> dict[str, Any]:
        """Return the path's rows with 1/β and the share of flagged texts, and best-of-n, JSON-ready."""
        rows = [
            {**row, "inverse_beta": float(eta), "flagged": self._share(float(eta))}
            for row, eta in zip(path_rows(self.path), self.path.inverse_beta, strict=True)
        ]
        sizes = [n for n in SIZES if n <= self.reference_value.shape[1]]
        curve = bestofn.curve(self.reference_value, self.sample.gold[self.sample.reference_rows], sizes)
        best = {"n": sizes, "kl": curve.kl.tolist(), "proxy": curve.proxy.tolist(), "gold": curve.gold.tolist()}
        value = self.reference_value
        return {"rows": rows, "best": best, "mean": float(value.mean()), "sd": float(value.std())}

    def point(self, inverse_beta: float, prompt: str) -> dict[str, Any]:
        """Return what the policy π_β is like: attribute means, texts to a prompt, and a cloud on the reference's map.

        Args:
            inverse_beta: 1/β.
            prompt: whose texts are shown; one that the world does not ask takes the first.
        """
        share = self.pool.weights(inverse_beta)
        flat = self.pool.counts.reshape(-1, self.pool.counts.shape[2])
        here = self.pool.path(inverse_beta=[0.0, inverse_beta] if inverse_beta else [0.0])
        return {
            **{name: float(getattr(here, name)[-1].mean()) for name in ("kl", "proxy", "gold")},
            "reliable": bool(here.reliable[-1]),
            "means": (share.ravel() @ flat / len(share)).tolist(),
            "reference": [float(p @ np.arange(len(p))) for p in self.sample.world.reference],
            "samples": self.samples(inverse_beta, prompt),
            "cloud": self._places[_systematic(share.ravel() / share.sum(), CLOUD)].tolist(),
        }

    def cloud(self) -> list[list[float]]:
        """Return where some of π_ref's texts lie."""
        rows = self.sample.reference_rows.ravel()
        return self._places[rows[:: max(1, len(rows) // CLOUD)]].tolist()  # type: ignore[no-any-return]

    @cached_property
    def _places(self) -> Array:
        return self.judge.place(self.sample.features["pools"])

    @cached_property
    def _flagged(self) -> BoolArray | None:
        detector = self.judge.fitted.get("latent distance")
        if detector is None:
            return None
        flagged = detector.check(self.judge.model.latent(self.sample.features["pools"])).flagged
        assert flagged is not None
        return flagged.reshape(self.pool.proxy.shape)

    def _share(self, inverse_beta: float) -> float | None:
        if self._flagged is None:
            return None
        share = self.pool.weights(inverse_beta)
        return float((share * self._flagged).sum() / len(share))

    def samples(self, inverse_beta: float, prompt: str) -> list[dict[str, Any]]:
        """Return a poor, a middling and a good response of π_β to a prompt, by the reward."""
        share, written = self.pool.weights(inverse_beta), self.sample.responses["pools"]
        width = share.shape[1]
        starts = [written.prompts[i * width] for i in range(len(share))]
        at = starts.index(prompt) if prompt in starts else 0
        order = np.argsort(self.pool.proxy[at], kind="stable")
        total = np.cumsum(share[at][order])
        rows = order[np.minimum(np.searchsorted(total, np.array(SHARES) * total[-1]), width - 1)]
        return [
            {
                "text": written.texts[at * width + row],
                "proxy": float(self.pool.proxy[at, row]),
                "gold": float(self.pool.gold[at, row]),
            }
            for row in rows.tolist()
        ]


def _systematic(share: Array, n: int) -> Any:
    """Return `n` rows drawn evenly along the cumulated shares: the same draws for every policy, so that points move."""
    return np.minimum(np.searchsorted(np.cumsum(share), (np.arange(n) + 0.5) / n), len(share) - 1)
