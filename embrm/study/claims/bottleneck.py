"""Claims on the bottleneck head (InfoRM)."""

from __future__ import annotations

from typing import Literal

from embrm.core.arrays import Array
from embrm.study.claims.cells import CLEAN, NOISY, Cells, Of, choose, complete, missing
from embrm.study.claims.define import Measured, claim
from embrm.study.claims.peaks import cross_fitted, drop
from embrm.study.claims.verdict import Part, difference
from embrm.study.metric import Metric

MEAN_PATH = Metric("path", "mean")
INFORM, PAIR = "InfoRM 2024", ("mlp", "inform")
FROZEN = "Here only a small head on frozen embeddings has the bottleneck; in the paper the whole language model does."


@claim("C2", "The bottleneck head reaches a higher gold at its peak than the standard one",
       source=INFORM, heads=PAIR, setting=FROZEN)  # fmt: skip
def higher_peak(cells: Cells) -> Measured:
    """Peak of the bottleneck minus peak of the standard head, clean labels."""
    return [_versus(cells, "higher", CLEAN)], _standard(cells, CLEAN)


@claim("C3", "The bottleneck head loses less gold after its peak than the standard one",
       source=INFORM, heads=PAIR, setting=FROZEN)  # fmt: skip
def smaller_drop(cells: Cells) -> Measured:
    """Drop of the standard head minus drop of the bottleneck, clean labels."""
    return [_versus(cells, "steadier", CLEAN)], _standard(cells, CLEAN)


@claim("C4", "The bottleneck head's peak is higher and its loss smaller also with 25 % flipped labels",
       source=INFORM, heads=PAIR, setting=FROZEN)  # fmt: skip
def under_noise(cells: Cells) -> Measured:
    """Both of the above, with noise."""
    return [_versus(cells, "higher", NOISY), _versus(cells, "steadier", NOISY)], _standard(cells, NOISY)


def _versus(cells: Cells, what: Literal["higher", "steadier"], flips: float) -> Part:
    kl, gold = cells.paths(*(Of(head, MEAN_PATH, flips) for head in PAIR))

    def better(found: list[Array]) -> Array:
        gain, loss = found  # both paths start at the reference policy's gold, so gains compare peaks
        return gain[:, 1] - gain[:, 0] if what == "higher" else loss[:, 0] - loss[:, 1]

    name = "peak of inform minus peak of mlp" if what == "higher" else "drop of mlp minus drop of inform"
    return difference(f"{name} up to {kl[-1]:.2g} nats", cross_fitted(cells, gold, better))


def _standard(cells: Cells, flips: float) -> str:
    _, gold = cells.paths(*(Of(head, MEAN_PATH, flips) for head in PAIR))
    return str(difference("the standard head's own drop is", drop(cells, gold[:, :, :1])))


@claim(
    "C5",
    "The bottleneck head is ahead of the standard one across β and latent sizes",
    source=INFORM,
    heads=["mlp", "inform beta=*"],
    setting=f"{FROZEN} A wide grid holds values that nobody would choose.",
)
def across_the_grid(cells: Cells) -> Measured:
    """Gold at a fixed KL of every point of the grid minus the standard head's; the worst of them decides."""
    grid = [title for title in cells.titles if title.startswith("inform beta=")]
    if not grid:
        raise missing(f"{cells.dataset} has no head titled 'inform beta=…'")
    kl, gold = cells.endpoints(*(Of(head, MEAN_PATH) for head in ("mlp", *grid)))
    parts = [
        difference(f"gold at {kl:.2g} nats of {h} minus mlp", cells.mean(gold[..., i] - gold[..., 0]))
        for i, h in enumerate(grid, 1)
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
    splits = ("in", "topics", "counts")
    found = cells.gather(*(Of(head, Metric("accuracy", split)) for split in splits for head in PAIR))
    groups = [complete(after - before)[0] for before, after in zip(found[::2], found[1::2], strict=True)]
    sample = cells.sample(groups, lambda means: (means[1] + means[2]) / 2 - means[0])
    gains = ", ".join(f"{split} {100 * x.mean():+.2g}" for split, x in zip(splits, groups, strict=True))
    return [difference("gain in accuracy outside minus inside", sample)], f"gains in percentage points: {gains}"


@claim(
    "C9",
    "The latent-distance penalty (IBL) prevents the fall better than a KL penalty, at equal KL of the final policy",
    source="InfoRM 2025",
    heads=["inform"],
    setting="The policy is the exact KL-regularised optimum on a pool, which no instability of RL throws off.",
)
def distance_penalty(cells: Cells) -> Measured:
    """Gold at the end of the path with the penalty, its weight chosen on validation prompts, minus without."""
    rules = cells.rules("inform", "ibl ")
    kl, gold = cells.paths(*(Of("inform", Metric("path", rule)) for rule in ("mean", *rules)))
    found = choose(gold[..., -1], range(1, len(rules) + 1))
    without = gold[found.rest, :, 0, -1]
    part = difference(f"gold at {kl[-1]:.2g} nats with the penalty minus without", cells.mean(found.values - without))
    return [part], f"γ = {rules[found.usual - 1].removeprefix('ibl ')} mostly, chosen among {len(rules)}"
