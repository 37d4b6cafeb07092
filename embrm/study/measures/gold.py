"""The exact path of the policies that trade a value against KL, as far as it is to be believed, and gold along it."""

from __future__ import annotations

import numpy as np

from embrm.bestofn import TiltPath, reference_sd, tilt_path
from embrm.core.arrays import Array
from embrm.study.datasets import Dataset

STEPS = {False: (40, 8.0), True: (60, 200.0)}  # exact pool → points of 1/β, and their end in 1/sd of the value


def value_path(data: Dataset, value: Array, *, until: float = np.inf) -> tuple[TiltPath, int, float]:
    """Return the path of a value `(m,)`, how many of its points to believe, and the value's sd under π_ref.

    `until` says how many nats of it are needed.
    """
    assert data.gold is not None
    proxy = value[data.path_rows]
    sd = reference_sd(data.log_weight, proxy)
    points, end = STEPS[data.exact]
    inverse_beta = np.linspace(0, np.sqrt(end), points) ** 2 / sd
    path = tilt_path(data.log_weight, proxy, data.gold[data.path_rows], inverse_beta=inverse_beta, until=until)
    return path, data.believed(path), sd


def gold_at(data: Dataset, value: Array, *, kl: float) -> Array:
    """Return gold `(prompts,)` of a value's policy at a KL from π_ref in nats; NaN where the path ends before."""
    path, last, _ = value_path(data, value, until=kl)
    axis = path.kl[:last].mean(axis=1)
    if axis[-1] < kl:
        return np.full(path.gold.shape[1], np.nan)
    return np.array([np.interp(kl, axis, column) for column in path.gold[:last].T])
