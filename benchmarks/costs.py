"""Core-seconds of a study's parts, for embrm/study/runner/costs.yaml, by which `embrm study --dry-run` foretells.

    python benchmarks/costs.py

On one thread, in processor time, so that nothing else on the machine counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from threadpoolctl import threadpool_limits

from embrm import Pairs, Problem, heads
from embrm.heads import FittedHead
from embrm.study.config import StudyConfig, load_config
from embrm.study.datasets import Dataset
from embrm.study.measures.fit import FitCell, control, measure
from embrm.study.measures.rl import rl
from embrm.study.results import Cell
from embrm.study.runner.costs import TABLE
from embrm.study.runner.plan import opened
from embrm.world.mechanism import Mechanism

SMALL, LARGE, STEPS = 500, 2000, 5


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def fitting(data: Dataset, name: str, fits: int) -> tuple[float, float]:
    """Return what one fit takes at its start, and for each thousand pairs."""
    recipe = heads.get(name)()
    taken = []
    for pairs in (SMALL, LARGE):
        drawn = [data.train(mechanism=Mechanism(bias=1.0), flips=0.25, pairs=pairs, seed=seed) for seed in range(fits)]
        problems = [Problem(pairs, seed) for seed, pairs in enumerate(drawn)]
        taken.append(seconds(lambda problems=problems: recipe.fit_many(problems)) / fits)  # type: ignore[misc]
    slope = max((taken[1] - taken[0]) / (LARGE - SMALL), 0.0)
    return max(taken[0] - slope * SMALL, 0.0), 1000 * slope


def measuring(config: StudyConfig, data: Dataset) -> Iterator[tuple[str, float]]:
    """Yield what measuring takes: a control, a fit, a rule, a detector at one point of the path, a step of training."""
    head = config.heads[0].model_copy(update={"options": {"members": 2}})
    cell = Cell("fit", data.name, head.title, config.detection.pairs, "biased", 0.25, 0)
    training = data.train(mechanism=Mechanism(bias=1.0), flips=0.25, pairs=cell.pairs, seed=0)
    model = heads.get(head.name)(**head.options).fit(training, seed=0)

    def taken(rules: int, watched: bool) -> float:
        detection = config.detection.model_copy(update={"heads": [head.title] if watched else []})
        asked = config.model_copy(update={"rules": config.rules[:rules], "detection": detection})
        return seconds(
            lambda: measure(asked, data, model, FitCell(head, cell, ""), training=training, temperature=1.0, seconds={})
        )

    taken(1, False)  # whatever is read once
    one, six, watched = taken(1, False), taken(6, False), taken(1, True)
    rule = (six - one) / 5
    yield "control", seconds(lambda: control(config, data, Cell("control", data.name, "oracle"), ""))
    yield "measure", max(one - rule, 0.0)
    yield "rule", rule
    yield "detector", (watched - one) / (len(config.detection.detectors) * config.detection.points)
    _, short, long = (live(config, data, model, cell, training, steps) for steps in (1, 1, 1 + STEPS))
    yield "step", max(long - short, 0.0) / STEPS


def live(config: StudyConfig, data: Dataset, model: FittedHead, cell: Cell, training: Pairs, steps: int) -> float:
    """Return what a training run of so many steps takes."""
    assert config.rl is not None
    asked = config.model_copy(update={"rl": config.rl.model_copy(update={"steps": steps})})
    return seconds(lambda: rl(asked, data, model, cell, "", training=training))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=5, help="in one batch")
    fits = parser.parse_args().fits
    torch.set_num_threads(1)
    config = load_config("laptop")
    lines = ["# Core-seconds on one thread, made by `python benchmarks/costs.py`."]
    with threadpool_limits(1):
        data = opened(config.datasets[0])
        lines += [f"{name}: {taken:.3g}" for name, taken in measuring(config, data)]
        lines.append("fit:  # at its start, and for each thousand pairs; an ensemble takes what its members take")
        for name in heads.names():
            if name != "ensemble":
                start, thousand = fitting(data, name, fits)
                lines.append(f"  {name}: [{start:.3g}, {thousand:.3g}]")
                print(lines[-1], flush=True)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
