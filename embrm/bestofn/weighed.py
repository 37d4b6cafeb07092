"""Pools and their halves at any 1/β: sums of the weights of their texts, and the moments that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from embrm.core.arrays import Array

POWERS = (1, 1, 1, 1, 1, 2)  # of the weights in each of `_Sums`


class _Sums(NamedTuple):
    """Sums of the weights of a pool's texts, in units of the largest.

    Attributes:
        top: `(b, prompts)` the logarithm of the largest weight at each 1/β.
        of: `(b, prompts, 6)` Σ w (1, r, g, r², r g) and Σ w²; all are 0 where there is no text.
    """

    top: Array
    of: Array


class _Half:
    """Every other text of each pool: `(prompts, n)` logarithms of weights, proxy and gold."""

    def __init__(self, log_weight: Array, proxy: Array, gold: Array) -> None:
        self._log_weight, self._proxy = np.ascontiguousarray(log_weight), np.ascontiguousarray(proxy)
        self._of = np.stack([np.ones_like(proxy), proxy, gold, proxy**2, proxy * gold], axis=2)

    def sums(self, inverse_beta: Array) -> _Sums:
        """Return the sums at each 1/β `(b,)`."""
        b, prompts = len(inverse_beta), len(self._proxy)
        top, of, w = np.empty((b, prompts)), np.empty((b, prompts, 6)), np.empty_like(self._proxy)
        for i, value in enumerate(inverse_beta.tolist()):
            np.multiply(self._proxy, value, out=w)
            w += self._log_weight
            top[i] = w.max(axis=1, initial=-np.inf)
            w -= np.where(np.isfinite(top[i]), top[i], 0.0)[:, None]
            np.exp(w, out=w)
            of[i, :, :5] = (w[:, None, :] @ self._of)[:, 0]
            of[i, :, 5] = np.einsum("ij,ij->i", w, w)
        return _Sums(top, of)


class WeighedPools:
    """Pools and their halves, to be weighed at any 1/β: every other text makes a half.

    The best that the reference can choose is the origin: neither a small β nor the moments lose digits then.
    """

    def __init__(self, log_weight: Array, proxy: Array, gold: Array) -> None:
        real = np.isfinite(log_weight)
        self._best, self._middle = np.where(real, proxy, -np.inf).max(axis=1), gold.mean(axis=1)
        r, g = proxy - self._best[:, None], gold - self._middle[:, None]
        self._halves = [_Half(log_weight[:, half::2], r[:, half::2], g[:, half::2]) for half in (0, 1)]
        self._able = [real[:, half::2].any(axis=1) for half in (0, 1)]
        self._start = [half.sums(np.zeros(1)) for half in self._halves]

    def at(self, inverse_beta: Array) -> tuple[Array, Array]:
        """Return what each pool is at all 1/β, and what its halves are, averaged.

        Either is KL, proxy, gold, effective sample size, variance of the proxy and its covariance with gold,
        `(6, b, prompts)`. A half without a text that π_ref would write says nothing, and counts as the whole.
        """
        parts = [half.sums(inverse_beta) for half in self._halves]
        whole = self._moments(_together(parts), _together(self._start), inverse_beta=inverse_beta)
        with np.errstate(divide="ignore", invalid="ignore"):
            halves = [self._moments(*each, inverse_beta=inverse_beta) for each in zip(parts, self._start, strict=True)]
        return whole, np.mean([np.where(a, x, whole) for a, x in zip(self._able, halves, strict=True)], axis=0)

    def _moments(self, found: _Sums, start: _Sums, *, inverse_beta: Array) -> Array:
        """Return what `at` returns, from the sums at these 1/β and at 0."""
        total, squares = found.of[..., 0], found.of[..., 5]
        mean, mean_gold, second, cross = np.moveaxis(found.of[..., 1:5] / total[..., None], 2, 0)
        # Σ w log(w/w_ref) without a logarithm for each text; rounding may leave it below 0.
        log_z = np.log(total) + found.top - (np.log(start.of[..., 0]) + start.top)
        kl = np.maximum(inverse_beta[:, None] * mean - log_z, 0.0)
        moments = (second - mean**2, cross - mean * mean_gold)
        return np.stack([kl, self._best + mean, self._middle + mean_gold, total**2 / squares, *moments])


def _together(parts: Sequence[_Sums]) -> _Sums:
    top = np.max([part.top for part in parts], axis=0)
    return _Sums(top, np.sum([np.exp(part.top - top)[..., None] ** POWERS * part.of for part in parts], axis=0))
