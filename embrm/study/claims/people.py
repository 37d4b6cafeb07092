"""Claims on several annotators, and on the reward behind a tuned policy."""

from __future__ import annotations

from embrm.study.claims.case import CLEAN
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.margins import ACCURACY, INFERRED, WORST_OFF
from embrm.study.claims.verdict import difference
from embrm.study.metric import Metric


@claim("C26", "Where one population judged few pairs, the pessimistic egalitarian choice loses less for the worst-off "
       "than the mean", source="MARLHF 2024", heads=("annotators",), scope=Scope(under="fair"),
       setting="The populations, and what each likes, are this project's.")  # fmt: skip
def worst_off(cells: Cells) -> Measured:
    """The least gain of a population by the egalitarian rule with a lower bound, minus that by the mean."""
    names = ("egalitarian sure", "utilitarian", "egalitarian", "utilitarian sure")
    metrics = [Metric("experiment", f"annotators.{name}") for name in names]
    sure, mean, plain, mean_sure = cells.gather(*(Of("annotators", metric) for metric in metrics))
    clusters = cells.clusters(metrics[0])
    what = "gain of the worst-off, in sd of the pool, by the pessimistic egalitarian rule minus by the mean"
    remark = (
        f"the mean leaves {mean.mean():.3g}, the mean of lower bounds {mean_sure.mean():.3g}, the egalitarian rule "
        f"without them {plain.mean():.3g} and with them {sure.mean():.3g}"
    )
    return [difference(what, cells.mean(sure - mean, clusters), smallest=WORST_OFF)], remark


@claim(
    "C28",
    "The reward behind a tuned policy is inferred from its outputs: held-out preferences are ordered with at least 0.8 "
    "of the accuracy of a head that learns the labels themselves",
    source="Insights from the Inverse 2024",
    heads=("inverse",),
    setting="The policy is the world's, whose attributes are independent.",
    scope=Scope(under="fair", flips=(CLEAN,)),
)
def behind(cells: Cells) -> Measured:
    """Accuracy of the reward inferred by maximum entropy, minus 0.8 of that of a head trained on the labels."""
    metrics = [Metric("experiment", f"inverse.{name}") for name in ("entropy", "labels", "margin")]
    entropy, labels, margin = cells.gather(*(Of("inverse", metric) for metric in metrics))
    what = f"accuracy of the inferred reward minus {INFERRED:g} of that of the labels"
    sample = cells.mean(entropy - INFERRED * labels, cells.clusters(metrics[0]))
    remark = (
        f"maximum entropy {entropy.mean():.3g}, maximum margin {margin.mean():.3g}, labels {labels.mean():.3g}: "
        f"a share of {entropy.mean() / labels.mean():.3g}"
    )
    return [difference(what, sample, smallest=ACCURACY)], remark
