"""Gradient heads on an accelerator against the CPU: how far their rewards are apart, and what a fit and a score take.

Run: python benchmarks/device.py [members, 25 by default] [cpu: beside itself, to see that this runs]

Every head is fitted on 4 000 pairs of 384 columns and scores 50 000 texts, once before the clock runs. Differences are
in units of the reward's standard deviation, the largest over texts and members; the target is 1e-3.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from training import HEADS, WIDTH, data

from embrm import Pairs, heads, use_device
from embrm.core.device import torch_device

TEXTS = 50_000
MORE: dict[str, dict[str, int]] = {"brme": {}, "ebrm": {}}  # with numbers of members of their own


def run(name: str, members: int, pairs: Pairs, texts: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return the seconds of a fit and of a score, and the draws."""
    options = {"passes": 1} if name == "dropout" else {}
    head = heads.get(name)(**options, **MORE.get(name, {"members": members}))
    head.fit(pairs, seed=1)
    start = time.perf_counter()
    model = head.fit(pairs, seed=0)
    fitted = time.perf_counter()
    draws = model.score(texts).draws  # numpy: the device has finished
    return fitted - start, time.perf_counter() - fitted, draws


def main() -> None:
    """Print a line a head."""
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    if "cpu" in sys.argv[2:]:
        name, title = "cpu", "the CPU"
    elif torch.cuda.is_available():
        name, title = "cuda", torch.cuda.get_device_name()
    elif torch.backends.mps.is_available():
        name, title = "mps", "Apple"
    else:
        print("no accelerator")
        return
    pairs, texts = data(), np.random.default_rng(1).normal(size=(TEXTS, WIDTH)).astype(np.float32)
    print(f"{title} against {torch.get_num_threads()} threads of the CPU, {members} members, wall seconds")
    print(f"{'':>10} {'fit cpu':>9} {name:>8} {'score cpu':>10} {name:>8} {'difference':>11}  (target 1e-3)")
    for head in (*HEADS, *MORE):
        found = []
        for device in ("cpu", name):
            with use_device(device):
                assert torch_device().type == device
                found.append(run(head, members, pairs, texts))
        (fit, score, expected), (fit_there, score_there, draws) = found
        difference = np.abs(draws - expected).max() / expected.std()
        print(f"{head:>10} {fit:>9.2f} {fit_there:>8.2f} {score:>10.2f} {score_there:>8.2f} {difference:>11.1e}")


if __name__ == "__main__":
    main()
