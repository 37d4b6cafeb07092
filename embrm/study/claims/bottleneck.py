"""Claims on the bottleneck head (InfoRM)."""

from __future__ import annotations

import fnmatch
from typing import Literal

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims.case import CHANNELS, CLEAN, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.choice import choose, complete
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.live import gold_at_equal_kl
from embrm.study.claims.margins import ACCURACY
from embrm.study.claims.peaks import cross_fitted, drop
from embrm.study.claims.verdict import Part, difference
from embrm.study.metric import Metric

INFORM, PAIR = "InfoRM 2024", ("mlp", "inform")
FROZEN = "Here only a small head on frozen embeddings has the bottleneck; in the paper the whole language model does."
GRID = "inform beta=* latent*"  # a frontier varies β alone
CLEAN_LABELS = Scope(under="hacks", flips=(CLEAN,), channels=CHANNELS)


@claim("C2", "The bottleneck head reaches a higher gold at its peak than the standard one",
       source=INFORM, heads=PAIR, setting=FROZEN, scope=CLEAN_LABELS)  # fmt: skip
def higher_peak(cells: Cells) -> Measured:
    """Peak of the bottleneck minus peak of the standard head, clean labels."""
    return [_versus(cells, "higher")], _standard(cells)


@claim("C3", "The bottleneck head loses less gold after its peak than the standard one",
       source=INFORM, heads=PAIR, setting=FROZEN, scope=CLEAN_LABELS)  # fmt: skip
def smaller_drop(cells: Cells) -> Measured:
    """Drop of the standard head minus drop of the bottleneck, clean labels."""
    return [_versus(cells, "steadier")], _standard(cells)


@claim("C4", "The bottleneck head's peak is higher and its loss smaller also with 25 % flipped labels",
       source=INFORM, heads=PAIR, setting=FROZEN,
       scope=Scope(under="hacks", flips=(NOISY,), channels=CHANNELS))  # fmt: skip
def under_noise(cells: Cells) -> Measured:
    """Both of the above, with noise."""
    return [_versus(cells, "higher"), _versus(cells, "steadier")], _standard(cells)


def _versus(cells: Cells, what: Literal["higher", "steadier"]) -> Part:
    curves = cells.curves(*(Of(head, cells.gold("mean")) for head in PAIR))

    def better(found: list[Array]) -> Array:
        gain, loss = found  # both curves start at the reference policy's gold, so gains compare peaks
        return gain[:, 1] - gain[:, 0] if what == "higher" else loss[:, 0] - loss[:, 1]

    name = "peak of inform minus peak of mlp" if what == "higher" else "drop of mlp minus drop of inform"
    sample = cross_fitted(cells, curves, better)
    return difference(f"{name} up to {curves.end}", sample, smallest=cells.smallest)


def _standard(cells: Cells) -> str:
    return str(difference("the standard head's own drop is", drop(cells, cells.curves(Of("mlp", cells.gold("mean"))))))


@claim(
    "C5",
    "The bottleneck head is ahead of the standard one across β and latent sizes",
    source=INFORM,
    heads=["mlp", GRID],
    setting=f"{FROZEN} A wide grid holds values that nobody would choose.",
    scope=Scope(channels=CHANNELS),
)
def across_the_grid(cells: Cells) -> Measured:
    """Gold at a fixed KL of every point of the grid minus the standard head's; the worst of them decides."""
    grid = fnmatch.filter(cells.fits.titles, GRID)
    if not grid:
        raise missing(f"{cells.dataset} has no head titled '{GRID}'")
    found = cells.endpoints(*(Of(head, cells.gold("mean")) for head in ("mlp", *grid)))
    smallest = cells.smallest
    parts = [
        difference(
            f"gold {found.at} of {head} minus mlp",
            cells.mean(found.gold[..., i] - found.gold[..., 0], found.clusters),
            smallest=smallest,
        )
        for i, head in enumerate(grid, 1)
    ]
    ahead = sum(part.sample.estimate > 0 for part in parts)
    clear = sum(part.verdict == "supported" for part in parts)
    worst = min(parts, key=lambda part: part.sample.estimate)
    return parts, f"ahead in {ahead} of {len(grid)} cells, clearly in {clear}; the worst is {worst.what}"


@claim(
    "C6",
    "The bottleneck head's gain in pair accuracy is larger out of distribution than in distribution",
    source="InfoRM 2024 (72.3→72.7 in, 40.6→46.9 out)",
    heads=PAIR,
    setting=FROZEN,
)
def elsewhere(cells: Cells) -> Measured:
    """Gain on held-out topics and on attribute counts beyond training, minus the gain on new prompts of known kind."""
    splits = [Metric("accuracy", split) for split in ("in", "topics", "counts")]
    found = cells.gather(*(Of(head, split) for split in splits for head in PAIR))
    gains = [after - before for before, after in zip(found[::2], found[1::2], strict=True)]
    kept = [complete(gain) for gain in gains]
    groups = [gain[keep] for gain, keep in zip(gains, kept, strict=True)]
    sample = cells.sample(
        groups,
        lambda means: np.asarray((means[1] + means[2]) / 2 - means[0]),
        clusters=[cells.clusters(split)[keep] for split, keep in zip(splits, kept, strict=True)],
    )
    listed = ", ".join(f"{split.name} {100 * x.mean():+.2g}" for split, x in zip(splits, groups, strict=True))
    part = difference("gain in accuracy outside minus inside", sample, smallest=ACCURACY)
    return [part], f"gains in percentage points: {listed}"


@claim(
    "C9",
    "The latent-distance penalty (IBL) prevents the fall better than a KL penalty, at equal KL of the final policy",
    source="InfoRM 2025",
    heads=["mlp", "inform"],
    setting="The policy is the exact optimum, or the best of n, on a pool, which no instability of RL throws off.",
    scope=Scope(under="hacks", channels=CHANNELS),
)
def distance_penalty(cells: Cells) -> Measured:
    """Gold at the end of the curve with the penalty, its weight chosen on validation topics, minus without."""
    rules = cells.fits.rules("inform", cells.gold("mean").family, "ibl ")
    curves = cells.curves(*(Of("inform", cells.gold(rule)) for rule in ("mean", *rules)))
    found = choose(curves.gold[..., -1], range(1, len(rules) + 1), curves.clusters)
    ahead = cells.mean(found.values - curves.gold[found.rest, :, 0, -1], found.clusters)
    part = difference(f"gold at {curves.end} with the penalty minus without", ahead, smallest=cells.smallest)
    live = gold_at_equal_kl(cells, "inform", ["", *rules])
    return [part], f"γ = {rules[found.usual - 1].removeprefix('ibl ')} mostly, chosen among {len(rules)}{live}"
