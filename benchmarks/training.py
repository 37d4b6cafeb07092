"""What training a gradient head costs beside the matrix products that it cannot avoid, a peer, and fits one by one.

Run: OMP_WAIT_POLICY=passive python benchmarks/training.py [threads, 2 by default] [repeats, 3 by default]

Every figure is the least of the repeats in CPU seconds of this process, as other work on the machine changes wall time
more; threads that wait must not spin (OMP_WAIT_POLICY), or their waiting would count. The sides of a ratio take turns.
EMBRM_TRAINING_PRECISION=float32 keeps fits out of bfloat16.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from embrm import Features, Pairs, heads
from embrm.heads.gradient.block import Block, StepInputs
from embrm.heads.gradient.head import GradientHead
from embrm.heads.inform import Inform

WIDTH, PAIRS, BATCH = 384, 4000, 256
HEADS = ("mlp", "inform", "dropout", "odin", "bnrm")


def data() -> Pairs:
    """Return 4 000 pairs of 384 columns, labelled by a linear reward."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8000, WIDTH)).astype(np.float32)
    reward = x @ rng.normal(size=WIDTH) * 0.15
    i = rng.integers(8000, size=PAIRS)
    j = i // 8 * 8 + (i + rng.integers(1, 8, size=PAIRS)) % 8
    wins = rng.random(PAIRS) < 1 / (1 + np.exp(reward[j] - reward[i]))
    features = Features(
        {"joint": x}, prompt=np.repeat(np.arange(1000), 8), length=rng.integers(20, 900, size=8000).astype(float)
    )
    return Pairs(features, np.where(wins, i, j), np.where(wins, j, i))


def products(head: GradientHead, *, steps: int) -> Callable[[], None]:
    """Return what runs the bare products of the head's layers: forward, weight gradients, and input gradients."""
    layers: list[tuple[Tensor, Tensor, Tensor, bool]] = []
    for name, init in head.parameters(WIDTH).items():
        if len(init.shape) == 2:
            a, b = init.shape
            x, w, g = (torch.randn(head.members, *shape) for shape in ((2 * BATCH, a), (a, b), (2 * BATCH, b)))
            layers.append((x, w, g, not name.startswith("input.")))

    def run() -> None:
        for _ in range(steps):
            for x, w, g, passes_on in layers:
                torch.bmm(x, w)
                torch.bmm(x.transpose(1, 2), g)
                if passes_on:
                    torch.bmm(g, w.transpose(1, 2))

    return run


def siamese(pairs: Pairs, *, epochs: int) -> Callable[[], None]:
    """Return what trains one plain 384-1024-512-1 network on all pairs at once, as the usual script does."""
    x = torch.from_numpy(pairs.features.matrix("joint"))
    chosen, rejected = x[torch.from_numpy(pairs.chosen)], x[torch.from_numpy(pairs.rejected)]

    def run() -> None:
        net = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, 1024),
            torch.nn.ReLU(),
            torch.nn.Linear(1024, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 1),
        )
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(epochs):
            optimiser.zero_grad()
            (-torch.nn.functional.logsigmoid(net(chosen) - net(rejected))).mean().backward()
            optimiser.step()

    return run


def plainly(block: Block, step: StepInputs) -> Tensor:
    """Return the loss of a step as Pyro's ELBO of the head's own programs, which draw their own noise."""
    head, params = block.head, block.params.values
    assert isinstance(head, Inform)
    loss: Tensor = TraceMeanField_ELBO().differentiable_loss(head.model, head.guide, params, step.x, step.batch)
    return loss


def by_programs(head: Inform, pairs: Pairs) -> None:
    """Fit with the programs in the loop."""
    undrawn = mock.patch.object(Inform, "noise_shape", return_value=(0, 0))
    with mock.patch.object(Block, "loss", plainly), undrawn:
        head.fit(pairs, seed=0)


def compare(first: Callable[[], Any], second: Callable[[], Any], *, repeats: int) -> tuple[float, float]:
    """Return the least CPU seconds of two jobs that take turns."""
    times = []
    for _ in range(repeats):
        row = []
        for job in (first, second):
            start = time.process_time()
            job()
            row.append(time.process_time() - start)
        times.append(row)
    best = np.min(times, axis=0)
    return float(best[0]), float(best[1])


def main() -> None:
    """Print all figures."""
    threads, repeats = (int(a) for a in (*sys.argv[1:], *("2", "3")[len(sys.argv) - 1 :]))
    torch.set_num_threads(threads)
    pairs = data()
    first = heads.get("inform")(epochs=1, patience=0).fit(pairs, seed=0)  # measures the precision
    precision = first.state().config["record"]["precision"]
    print(f"{PAIRS} pairs x {WIDTH}, {threads} threads, CPU seconds, the least of {repeats}")
    print(f"fits multiply features in {precision}, bare products in float32")
    epochs, members = 4, 25
    steps = epochs * -(-PAIRS // BATCH)
    print(f"{members} members, {steps} steps{'':>8} {'fit':>7} {'products':>9} {'ratio':>6}  (target 1.2)")
    for name, count in [*((name, members) for name in HEADS), ("inform", 1), ("inform", 5)]:
        options = {"passes": 1} if name == "dropout" else {}
        head = heads.get(name)(members=count, epochs=epochs, patience=0, batch_size=BATCH, **options)
        assert isinstance(head, GradientHead)
        fit, bare = compare(partial(head.fit, pairs, seed=0), products(head, steps=steps), repeats=repeats)
        print(f"{name:>20} x {count:<2}{fit:>10.2f} {bare:>9.2f} {fit / bare:>6.2f}")
    for members in (1, 5, 25):
        inform = Inform(members=members, epochs=epochs, patience=0)
        plain, fast = compare(partial(by_programs, inform, pairs), partial(inform.fit, pairs, seed=0), repeats=repeats)
        print(f"inform x {members}: plain programs {plain:.2f}, the loop {fast:.2f}, ratio {plain / fast:.2f}")
    one, fifty = (heads.get("inform")(epochs=epochs, patience=0, members=k) for k in (1, 50))
    together, apart = compare(
        lambda: fifty.fit(pairs, seed=0), lambda: [one.fit(pairs, seed=s) for s in range(50)], repeats=repeats
    )
    print(f"50 members at once {together:.2f}, fifty fits {apart:.2f}, ratio {together / apart:.2f}  (target 0.5)")
    five = heads.get("inform")(members=5)
    ours, theirs = compare(lambda: five.fit(pairs, seed=0), siamese(pairs, epochs=30), repeats=repeats)
    print(f"five inform {ours:.2f}, a siamese network {theirs:.2f}, ratio {ours / theirs:.2f} (target 0.12)")


if __name__ == "__main__":
    main()
