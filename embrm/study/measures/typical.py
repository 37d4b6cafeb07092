"""Typical responses along a path: what the policy writes at its start, where gold peaks, and at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from embrm.bestofn import TiltPath, reference_sd, tilted
from embrm.core.arrays import Array
from embrm.study.datasets import Dataset

MASS = 0.5  # a typical response is one of the likeliest, which hold this share of the policy's probability


def typical_responses(data: Dataset, path: TiltPath, value: Array, *, kl_end: float) -> list[dict[str, Any]]:
    """Return one response of the policy at three points of a path: its start, the peak of mean gold, and its end.

    The prompt is the one along which proxy and gold go most like their means. At each point the response is, of the
    likeliest, the one whose proxy and gold are nearest to the policy's own means there. Where gold peaks at an end, the
    point half-way stands in for the peak.

    Args:
        data: whose texts.
        path: over `data.path_rows`, of the value.
        value: `(m,)` what the policy is optimised against.
        kl_end: nats, where a path ends that the pool would bear further.

    Returns:
        For each point `at` ("start", "peak" or "half-way", "end"), `kl`, `prompt`, `text`, `proxy` (sd above the mean
        of π_ref) and `gold`; nothing where the data set does not keep its texts.
    """
    assert data.gold is not None
    kl = path.kl.mean(axis=1)
    last = max(int((kl[: data.believed(path)] <= kl_end).sum()) - 1, 0)
    peak = int(path.gold[: last + 1].mean(axis=1).argmax())
    inside = 0 < peak < last
    middle = peak if inside else last // 2
    points = {"start": 0, "peak" if inside else "half-way": middle, "end": last}
    at = list(points.values())
    prompt = int((_apart(path.proxy[at]) + _apart(path.gold[at])).argmin())
    rows = data.path_rows[prompt]
    proxy, gold = value[rows], data.gold[rows]
    chosen = [
        rows[_nearest(tilted(data.log_weight[[prompt]], proxy[None], float(path.inverse_beta[i]))[0], proxy, gold)]
        for i in at
    ]
    written = data.written(np.array(chosen))
    mean, sd = path.proxy[0].mean(), reference_sd(data.log_weight, value[data.path_rows])
    return [
        {
            "at": name,
            "kl": float(kl[i]),
            "prompt": asked,
            "text": text,
            "proxy": float((value[row] - mean) / sd),
            "gold": float(data.gold[row]),
        }
        for (name, i), row, (asked, text) in zip(points.items(), chosen, written, strict=False)
    ]


def _apart(means: Array) -> Array:
    """Return how far each prompt's line `(points, prompts)` is from the mean line, in the prompts' spread."""
    middle = means.mean(axis=1, keepdims=True)
    return np.asarray((((means - middle) / (means.std(axis=1, keepdims=True) + 1e-12)) ** 2).sum(axis=0))


def _nearest(share: Array, proxy: Array, gold: Array) -> int:
    """Return which of the likeliest texts `(n,)` is nearest to the means of proxy and gold."""
    order = np.argsort(-share, kind="stable")
    likely = order[: int(np.searchsorted(np.cumsum(share[order]), MASS)) + 1]
    distance = np.zeros(len(likely))
    for scores in (proxy, gold):
        mean = share @ scores
        distance += (scores[likely] - mean) ** 2 / (share @ (scores - mean) ** 2 + 1e-12)
    return int(likely[distance.argmin()])
