"""The names of what a study measures, as values: what each holds, and the text that files hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embrm.core.names import suggestion
from embrm.errors import OptionError, UnknownNameError

SD_AND_KL = ("sd", "kl")
BINNED = ("confidence", "accuracy", "weight")
# What the axes of arrays count; "prompt" counts those of a split, of the pools or of the paths.
AXES: Mapping[str, str] = {
    "prompt": "held-out prompts",
    "size": "the n of best-of-n, which are the values of `Metric('sizes')`",
    "kl": "`kl_points` levels of KL from π_ref, 0 to `kl_end` nats",
    "sd and kl": "the value's sd under π_ref, and nats",
    "part": "confidence, accuracy and weight of each bin",
    "bin": "the ten bins of a reliability diagram",
    "point": "points of the path at which detectors look; of a training run, its steps",
    "step": "steps of a training run",
    "text": "texts",
    "principal": "the first two principal axes of the training texts' latents",
}


@dataclass(frozen=True)
class MetricFamily:
    """What the metrics of one family have in common.

    Attributes:
        about: what their arrays hold.
        axes: of the arrays, outermost first, as `AXES` explains them.
        of: what a metric's name says: "rule", "split", "detector", "series", "part"; "" where it has no name.
        known: the only names; without any, every name may be.
        spaced: whether a metric is of one space: "latent", "joint" or "pca".
        prefix: what its text begins with; None stands for the family's own name.
    """

    about: str
    axes: tuple[str, ...]
    of: str = ""
    known: tuple[str, ...] = ()
    spaced: bool = False
    prefix: str | None = None


FAMILIES: Mapping[str, MetricFamily] = {
    "accuracy": MetricFamily("share of a split's clean pairs ordered correctly", ("prompt",), "split"),
    "bon": MetricFamily(
        "expected gold of the rule's choice among n. 'single' is the mean over the members taken one at a time; 'over' "
        "and 'under' are the mean's, where a random tenth of the responses is scored one sd of its pool too high or "
        "too low; 'branches' of WARM is the prediction ensemble of what it averages",
        ("prompt", "size"),
        "rule",
    ),
    "path": MetricFamily(
        "gold of the policy that the rule's value tilts from π_ref, at a fixed KL; NaN where the pool is no longer "
        "reliable. 'single' and 'branches' as in bon",
        ("prompt", "kl"),
        "rule",
    ),
    "proxy": MetricFamily("gain of the rule's own value along its path, in sd under π_ref", ("kl",), "rule"),
    "spread": MetricFamily(
        "the value's sd under π_ref, and the KL of the policy at a β that is the same for all rules: the one at which "
        "the mean reward's policy is about 2 nats away",
        ("sd and kl",),
        "rule",
    ),
    "reliability": MetricFamily(
        "calibration bins on the first split; tables name the parts apart", ("part", "bin"), "part", ("", *BINNED)
    ),
    "auroc": MetricFamily(
        "how well the distance to the training texts tells hacked texts (proxy above the reference's 95th percentile, "
        "gold below its median) from the others; NaN for prompts without any",
        ("prompt",),
        spaced=True,
    ),
    "clusters": MetricFamily(
        "of the controls: which cluster each prompt belongs to, such as its topic: prompts of the 'pool' (bon), of the "
        "'path', and of each split (accuracy), in the order of those arrays; of experiments, for each of their arrays",
        ("prompt",),
        "prompts",
    ),
    "experiment": MetricFamily(
        "what an experiment measures on each prompt, by its title and its own name for it, such as 'steps.min'; its "
        "prompts may be others than those of accuracies and pools, so their 'clusters' are of the same name",
        ("prompt",),
        "measurement",
    ),
    "sizes": MetricFamily("the n of best-of-n that the smallest pool allows", ("size",)),
    "points": MetricFamily("KL and gold where detectors look", ("point",), "series", ("kl", "gold"), prefix="watch"),
    "watch": MetricFamily("a detector's statistic along the mean reward's path", ("point",), "detector", spaced=True),
    "alarm": MetricFamily("its p-value, where the detector has one", ("point",), "detector", spaced=True),
    "run": MetricFamily("what a training run logs", ("step",), "series", ("kl", "gold", "proxy"), prefix=""),
    "cloud": MetricFamily("latents of training texts", ("text", "principal")),
    "latent": MetricFamily("latents of the policy's texts in training", ("step", "text", "principal")),
}


@dataclass(frozen=True)
class Metric:
    """What one array of a row holds.

    >>> Metric("bon", "worst_case"), str(Metric("watch", "csi", space="latent"))
    (Metric(family='bon', name='worst_case', space=''), 'watch.csi.latent')
    >>> FAMILIES["bon"].axes
    ('prompt', 'size')

    Attributes:
        family: a key of `FAMILIES`, where is said what it measures and which axes its arrays have.
        name: of the rule, split, detector or series; "" in families without names.
        space: where a detector or a distance looks; "" in families without spaces.

    Raises:
        UnknownNameError: there is no such family; the message suggests the nearest.
        OptionError: the family needs a name or a space that was not given, or has none.
    """

    family: str
    name: str = ""
    space: str = ""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UnknownNameError(f"no family of metrics named '{self.family}'. {suggestion(self.family, FAMILIES)}")
        kind = FAMILIES[self.family]
        if kind.known and self.name not in kind.known:
            known = ", ".join(filter(None, kind.known))
            raise OptionError(f"metrics '{self.family}' are of a {kind.of} among {known}; got '{self.name}'")
        if not kind.known and bool(self.name) != bool(kind.of):
            wanted = f"of a {kind.of}, give its name" if kind.of else "without a name"
            raise OptionError(f"metrics '{self.family}' are {wanted}; got '{self.name}'")
        if bool(self.space) != kind.spaced:
            wanted = "in a space, give space='latent' or another" if kind.spaced else "in no space"
            raise OptionError(f"metrics '{self.family}' are {wanted}; got '{self.space}'")

    def __str__(self) -> str:
        """Return the text that files hold, such as `bon.mean`."""
        prefix = FAMILIES[self.family].prefix
        return ".".join(filter(None, (self.family if prefix is None else prefix, self.name, self.space)))

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Return the metric whose text this is.

        >>> Metric.parse("path.robust 0.5").name
        'robust 0.5'

        Raises:
            UnknownNameError: no metric is written so.
        """
        if text in _WHOLE:
            return _WHOLE[text]
        family, _, rest = text.partition(".")
        kind = FAMILIES.get(family)
        if kind is None or kind.known or not rest or not (kind.of or kind.spaced):
            raise UnknownNameError(f"no metric is written '{text}'; families are: {', '.join(FAMILIES)}")
        name, _, space = rest.rpartition(".") if kind.spaced else (rest, "", "")
        return cls(family, name, space)


# Texts that are no family's name with a free one after it.
_WHOLE = {
    str(metric): metric
    for family, kind in FAMILIES.items()
    for metric in (Metric(family, name) for name in kind.known or ("",) if kind.known or not (kind.of or kind.spaced))
}
