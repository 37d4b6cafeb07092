"""A reward by evidence: the nearest labelled comparisons vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs, Problem
from embrm.core.processes import spread
from embrm.core.registry import register
from embrm.core.results import State
from embrm.errors import DataError, OptionError
from embrm.heads import _newton
from embrm.heads._comparisons import Comparisons, Kernel, standardised
from embrm.heads._head import FittedHead, Head
from embrm.heads._retrieval import COMPARISONS, FittedRetrieval
from embrm.heads.gradient.split import hold_out, moments, targets

COUNTS = (32, 128, 512, 2048)  # of neighbours that are tried, beside all comparisons
LOOKED_AT = 512  # training texts by which distances and votes are measured
USUAL = 0.01  # share of texts like the training texts, on prompts of their own, on which nothing is said
LEAST = 0.05  # logits that a standard deviation of the votes' differences is worth at least


@register
@dataclass(frozen=True, kw_only=True)
class Retrieval(Head):
    """A kernel-weighted vote of the nearest labelled comparisons, which are its evidence; it may abstain.

    Comparison i votes v_i(x) = +1 where text x is its preferred text, −1 where x is the other one, and else by the
    projection of x on the line between both, cut off at ±1; a tie votes 0. Its relevance is a_i(x) = exp(−d²/2h²), d
    the distance from x to the nearer one of its texts, all over features of unit variance. The reward is
    s·(V(x) − V̄) with V = Σ a_i v_i / (κ + Σ a_i) over the k nearest, V̄ its mean over training texts, and s the slope of
    the Bradley–Terry likelihood on held-out prompts.

    Where no comparison is as relevant as the threshold, the head **abstains**: the reward is 0, that of a mean training
    text, and its draws have the standard deviation of the rewards of training texts. In between, the draws are those
    of a Bayesian bootstrap over comparisons, with κ comparisons of a random function in the prior's place; their mean
    is the reward. So rules that weigh uncertainty avoid texts on which nothing is known.

    After the retrieval-augmented self-reasoning of Xia et al. (2407.19813), whose relevance, evidence and refusal this
    has; what is left out needs a language model: that it judges relevance itself, cites sentences and writes down its
    reasoning. A saved model holds the vectors of its training texts. Margins of the pairs are not used; the latent is
    the reward itself.

    Attributes:
        neighbours: k; None chooses it on held-out prompts. More are less noisy, and fewer more local.
        bandwidth: h, in units of the median distance of a training text to the nearest comparison of another prompt.
        threshold: relevance, inside [0, 1), of the nearest comparison below which the head abstains; 0 never does. None
            is what one in a hundred training texts stays below when its own prompt is left out.
        prior: κ > 0, in comparisons of relevance 1.
        draws: draws that `score` returns, an even number.
        validation_fraction: share of the pairs, by prompt, held out to choose k and s; all pairs vote in the end.
    """

    neighbours: int | None = None
    bandwidth: float = 0.5
    threshold: float | None = None
    prior: float = 1.0
    draws: int = 32
    validation_fraction: float = 0.15

    def __post_init__(self) -> None:
        if self.neighbours is not None and self.neighbours < 1:
            raise OptionError(f"neighbours must be >= 1 (or None to choose them), got {self.neighbours}")
        if not min(self.bandwidth, self.prior) > 0:
            raise OptionError(f"bandwidth and prior must be > 0, got {self.bandwidth} and {self.prior}")
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise OptionError(f"threshold must be inside [0, 1) (or None to measure it), got {self.threshold}")
        if self.draws < 2 or self.draws % 2:
            raise OptionError(f"draws must be even and >= 2 (they come in pairs), got {self.draws}")
        if not 0 < self.validation_fraction < 1:
            raise OptionError(f"validation_fraction must be inside (0, 1), got {self.validation_fraction}")

    def space(self) -> dict[str, Sequence[Any]]:
        """Return bandwidths and priors; the head's own search has the neighbours."""
        return {"bandwidth": (0.25, 0.5, 0.7, 1.0), "prior": (0.1, 1.0, 10.0)}

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the problems one by one."""
        return spread(self._fit, problems, names=[f"retrieval, seed {problem.seed}" for problem in problems])

    def _fit(self, problem: Problem) -> FittedRetrieval:
        pairs = problem.pairs
        x = pairs.features.rows(self.view)
        mean, scale = moments(x, pairs.rows)
        train, validation = hold_out(problem, fraction=self.validation_fraction, view=self.view)
        count, slope = self.neighbours or COUNTS[-1], 1.0
        if validation is not None:
            count, slope = self._tune(train, validation, (mean, scale))
        comparisons, kernel = self._kernel(pairs, (mean, scale), count)
        some = standardised(x[_some(pairs)], mean, scale)
        usual, d = kernel.sums(comparisons, some), x.shape[1]
        rng, half = np.random.default_rng([problem.seed, 1]), self.draws // 2
        model = FittedRetrieval(
            head=self,
            width=d,
            embedder=pairs.features.embedder,
            reference=np.zeros(self.draws),
            record={"pairs": len(pairs), "slope": slope, **vars(kernel)},
            mean=mean,
            scale=scale,
            comparisons=comparisons,
            kernel=kernel,
            level=np.array([slope, usual.mean(), usual.std()]),
            resample=rng.standard_exponential((half, len(comparisons))).astype(np.float32),
            waves=rng.standard_normal((d, half)) / kernel.width,
            phase=rng.uniform(0, 2 * np.pi, half),
        )
        return replace(model, reference=model.score(pairs.features.take(_some(pairs))).draws.mean(axis=1))

    def _kernel(self, pairs: Pairs, units: tuple[Array, Array], count: int) -> tuple[Comparisons, Kernel]:
        """Return the pairs as comparisons, and the kernel of their distances to texts of other prompts."""
        comparisons = Comparisons.of(pairs, view=self.view, mean=units[0], scale=units[1])
        some, prompt = _some(pairs), pairs.features.prompt
        x = standardised(pairs.features.rows(self.view)[some], *units)
        near = []
        for part in comparisons.parts(len(x)):
            square, _ = comparisons.look(x[part])
            square[prompt[some[part], None] == pairs.prompt[comparisons.pair]] = np.inf
            near.append(square.min(axis=1))
        squares = np.concatenate(near)
        alone = not np.isfinite(squares).all()  # there is one prompt
        if alone:
            squares = comparisons.lengths
        width = self.bandwidth * (float(np.sqrt(np.median(squares))) or 1.0)
        threshold = self.threshold
        if threshold is None:
            threshold = 0.0 if alone else float(np.exp(-np.quantile(squares, 1 - USUAL) / (2 * width**2)))
        return comparisons, Kernel(width, threshold, count, self.prior)

    def _tune(self, train: Pairs, validation: Pairs, units: tuple[Array, Array]) -> tuple[int, float]:
        """Return how many neighbours are best on held-out prompts, and the slope of the rewards there."""
        used = validation.compact()
        x = standardised(used.features.rows(self.view)[:], *units)
        counts = [count for count in COUNTS if count < len(train)] + [len(train)]
        comparisons, kernel = self._kernel(train, units, 1)
        kernels = [replace(kernel, count=count) for count in (counts if self.neighbours is None else [self.neighbours])]
        sums = np.empty((len(kernels), len(x)))
        for part in comparisons.parts(len(x)):
            seen = comparisons.look(x[part])
            sums[:, part] = [k.weighed(*seen, comparisons.weight).sums for k in kernels]
        weight, target, _ = targets(used)
        found = []
        for k, z in zip(kernels, sums[:, used.chosen] - sums[:, used.rejected], strict=True):
            sd = float(z.std()) or 1.0
            data = _newton.Data(z[:, None] / sd, weight, target, np.zeros(len(z)))
            slope = max(float(_newton.fit(data, precision=1.0).theta[0]), LEAST)
            found.append((float(weight @ data.loss(slope * z / sd)), k.count, slope / sd))
        return min(found)[1:]

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        d, half = state.config["width"], self.draws // 2
        texts, resample = state.array("texts", None, d), state.array("resample", half, None)
        c = resample.shape[1]
        own: Any = {name: state.array(name, c) for name in COMPARISONS}
        comparisons = Comparisons(texts, **own)
        for rows in (comparisons.chosen, comparisons.rejected):
            if rows.dtype.kind != "i" or rows.min() < 0 or rows.max() >= len(texts):
                raise DataError(f"comparisons must be of rows 0..{len(texts) - 1} of the texts; save the model again")
        kernel = {name: state.config["record"][name] for name in ("width", "threshold", "count", "prior")}
        return FittedRetrieval(
            head=self,
            width=d,
            embedder=state.config["embedder"],
            reference=state.array("reference", self.draws),
            record=state.config["record"],
            mean=state.array("mean", d),
            scale=state.array("scale", d),
            comparisons=comparisons,
            kernel=Kernel(**kernel),
            level=state.array("level", 3),
            resample=resample,
            waves=state.array("waves", d, half),
            phase=state.array("phase", half),
        )


def _some(pairs: Pairs) -> IntArray:
    """Return rows of a part of the training texts, which does not depend on how the rows are numbered."""
    step = max(1, 2 * len(pairs) // LOOKED_AT)
    return np.concatenate([pairs.chosen[::step], pairs.rejected[::step]])
