"""The claim that is a matrix: which defence helps against which mechanism."""

from __future__ import annotations

from embrm.core.arrays import Array, IntArray
from embrm.study.claims.case import CHANNELS, CLEAN, NOISY
from embrm.study.claims.cells import STANDARD, Cells, Of
from embrm.study.claims.choice import choose
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.margins import GAIN
from embrm.study.claims.verdict import difference

# Defence → the head, and the rule, or the beginning of the rules among which validation topics choose ("ibl …").
DEFENCES = {
    "worst case": ("mlp x5", "worst_case"),
    "uncertainty weighting": ("mlp x5", "uncertainty_weighted"),
    "bottleneck": ("inform", "mean"),
    "latent penalty": ("inform", "ibl "),
    "weight averaging": ("warm", "mean"),
    "Laplace": ("laplace", "mean"),
    "BRME's mixture": ("brme", "robust "),
}
ENDS = ("robust 0", "robust 1")  # no mixtures


@claim(
    "C21",
    "A defence reaches more gold than the standard head, under each mechanism",
    source="this project",
    heads=["mlp", "mlp x5", "inform", "warm", "laplace", "brme"],
    setting="At this place of the curve the standard head is ahead.",
    scope=Scope(
        under="every",
        flips=(CLEAN, NOISY),
        channels=CHANNELS,
        defences={name: (STANDARD, head) for name, (head, _) in DEFENCES.items()},
        compares="gold of each defence minus the standard head's, in units of that one's gain",
    ),
)
def helps(cells: Cells) -> Measured:
    """Gold at the end of the curve under a defence minus the standard head's, in units of what that gains at its peak.

    The end is the same KL for both: the largest n, or the largest of 1 to 4 nats that is reliable for both.

    Raises:
        MissingError: the standard head gains nothing.
    """
    head, rule = DEFENCES[cells.case.defence]
    rules, remark = [rule], ""
    if rule.endswith(" "):
        rules = [title for title in cells.fits.rules(head, cells.gold("mean").family, rule) if title not in ENDS]
    ends = cells.endpoints(Of(STANDARD, cells.gold("mean")), *(Of(head, cells.gold(title)) for title in rules))
    gain = cells.gain()
    if gain is None:
        raise missing(f"the standard head gains no gold on {cells.dataset} that a defence could be measured by")
    ahead: tuple[Array, IntArray] = ends.gold[..., 1] - ends.gold[..., 0], ends.clusters
    if len(rules) > 1:
        found = choose(ends.gold, range(1, len(rules) + 1), ends.clusters)
        ahead = found.values - ends.gold[found.rest, :, 0], found.clusters
        remark = f"{rules[found.usual - 1]} mostly, chosen among {len(rules)}"
    what = f"gold {ends.at} minus the standard head's, in units of its gain of {gain:.3g}"
    return [difference(what, cells.mean(ahead[0] / gain, ahead[1]), smallest=GAIN)], remark
