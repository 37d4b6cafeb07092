"""Claims on the Bayesian ensemble and its robust mixture (BRME)."""

from __future__ import annotations

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims.case import CHANNELS
from embrm.study.claims.cells import Cells, Extreme, GoldEnds, Of
from embrm.study.claims.choice import choose
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.live import gold_at_end
from embrm.study.claims.margins import DROP
from embrm.study.claims.verdict import Part, difference, equivalence
from embrm.study.metric import Metric

SOURCE, HEADS, RULE = "BRME 2024", ("mlp", "brme"), "robust "
RECONSTRUCTED = "The paper leaves the target of its second training stage open; ours is bootstrap refits of the first."
BOTH = Scope(channels=CHANNELS)
MANY = 20  # seeds that a spread over seeds should rest on


@claim("C10", "BRME's nominal reward beats a single head (the average over its heads taken one at a time)",
       source=SOURCE, heads=HEADS, setting=RECONSTRUCTED, scope=BOTH)  # fmt: skip
def nominal(cells: Cells) -> Measured:
    """Gold at a fixed KL of the nominal reward, that of the head with the smallest σ, minus a single head's."""
    found = cells.endpoints(*(Of("brme", cells.gold(name)) for name in ("robust 0", "single", "mean")))
    reward, single, mean = np.moveaxis(found.gold, 2, 0)
    what = f"gold {found.at} of the nominal reward minus a single head"
    part = difference(what, cells.mean(reward - single, found.clusters), smallest=cells.smallest)
    return [part], f"the heads' mean is {(mean - single).mean():+.3g} ahead"


@claim("C11", "The mixture of nominal and worst-case reward beats either alone",
       source=SOURCE, heads=HEADS, setting=RECONSTRUCTED, scope=BOTH)  # fmt: skip
def mixture(cells: Cells) -> Measured:
    """Gold at a fixed KL of the mixture, its weight chosen on validation prompts, minus that at either end."""
    levels, ends = _levels(cells, pairs="largest")
    found = choose(ends.gold, range(1, len(levels) - 1), ends.clusters)
    rest, smallest = ends.gold[found.rest], cells.smallest
    parts = [
        difference(
            f"gold {ends.at} of the mixture minus {name}",
            cells.mean(found.values - rest[..., end], found.clusters),
            smallest=smallest,
        )
        for name, end in (("nominal", 0), ("worst case", -1))
    ]
    top = levels[int(rest.mean(axis=(0, 1)).argmax())]
    listed = ", ".join(f"{level:g}" for level in levels)
    return parts, f"ρ = {levels[found.usual]:g} mostly; on the prompts measured the best of {listed} is {top:g}"


@claim(
    "C12",
    "Long runs are more stable with robustness: gold at the end, its spread over seeds; sd and KL shrink with ρ",
    source=SOURCE,
    heads=HEADS,
    setting=f"The run is the exact tilted policy, or the best of n, without the noise of RL. {RECONSTRUCTED}",
    scope=BOTH,
)
def stable(cells: Cells) -> Measured:
    """More gold at the end, less spread over seeds, and a reward whose sd and policy's KL shrink as ρ grows."""
    levels, ends = _levels(cells, pairs="smallest")
    found = choose(ends.gold, range(1, len(levels)), ends.clusters)
    seeds = ends.gold.shape[1]
    if seeds < 3:
        raise missing(f"the spread over seeds needs at least 3 of 'brme', {cells.dataset} has {seeds}")
    both = np.stack([ends.gold[found.rest, :, 0], found.values], axis=2)
    of_seed = both.mean(axis=0) - both.mean(axis=(0, 1))
    moments = np.stack([of_seed, of_seed**2], axis=1)[:, None]  # (seeds, 1, moments, nominal and robust)
    ahead = cells.mean(both[..., 1] - both[..., 0], found.clusters)
    parts = [
        difference(f"gold {ends.at} with robustness minus nominal", ahead, smallest=cells.smallest),
        difference(f"sd over seeds {ends.at} of nominal minus with robustness", cells.sample([moments], _smaller_sd)),
    ]
    if cells.case.channel == "path":  # the best of n is as far from π_ref whatever the reward
        parts += _shrinking(cells, levels)
    few = "" if seeds >= MANY else f" ({MANY} were wanted)"
    live = gold_at_end(cells, "brme", [f"{RULE}{level:g}" for level in levels])
    return parts, f"ρ = {levels[found.usual]:g} mostly; {seeds} seeds{few}{live}"


def _smaller_sd(means: list[Array]) -> Array:
    mean, square = means[0][:, 0], means[0][:, 1]
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    return np.asarray(sd[:, 0] - sd[:, 1])


def _shrinking(cells: Cells, levels: list[float]) -> list[Part]:
    """Judge that from ρ = 0 to 1 the reward's sd and the KL at a given β shrink, and that no step raises either."""
    found = cells.gather(*(Of("brme", Metric("spread", f"{RULE}{level:g}")) for level in levels), pairs="smallest")
    spread = np.stack(found, axis=2).transpose(1, 2, 0)[:, None]  # (seeds, 1, levels, sd and KL)
    last_step = "largest step of sd or KL as ρ grows, relative to nominal"

    def left(means: list[Array]) -> Array:
        return np.asarray(1 - (means[0][:, -1] / means[0][:, 0]).max(axis=1))

    def step(means: list[Array]) -> Array:
        return np.asarray((np.diff(means[0], axis=1) / means[0][:, :1]).max(axis=(1, 2)))

    return [
        difference("shrinking of sd and KL from ρ = 0 to 1, the smaller of the two", cells.sample([spread], left)),
        equivalence(last_step, cells.sample([spread], step), below=DROP),
    ]


def _levels(cells: Cells, *, pairs: Extreme) -> tuple[list[float], GoldEnds]:
    """Return the weights ρ, and gold `(prompts, seeds, levels)` at one place."""
    rules = cells.fits.rules("brme", cells.gold("mean").family, RULE)
    levels = [float(rule.removeprefix(RULE)) for rule in rules]
    if levels[0] != 0 or levels[-1] != 1 or len(levels) < 3:
        raise missing(f"'brme' of {cells.dataset} needs rules 'robust 0', 'robust 1' and some between, has {levels}")
    return levels, cells.endpoints(*(Of("brme", cells.gold(rule)) for rule in rules), pairs=pairs)
