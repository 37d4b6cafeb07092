"""Self-training: heads of different views label unlabelled pairs, and learn from those on which they agree."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Features, Pairs, Problem
from embrm.core.results import RewardModel
from embrm.core.seen import TextHashes
from embrm.errors import DataError, OptionError
from embrm.heads import FittedHead
from embrm.heads.ensemble import Ensemble
from embrm.metrics.calibration import Preferences, fit_temperature, tempered

ONE_SIDED = 10  # pseudo-labels from which on all of one side are no coincidence


class NoAgreementWarning(UserWarning):
    """No unlabelled pair was labelled with confidence, so that the labels alone were learned from."""


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """What heads make of `n` unlabelled pairs.

    Attributes:
        agreed: `(n,)` True where every head gives the same text at least the confidence asked for.
        disagreed: `(n,)` True where heads prefer different texts.
        consensus: `(n,)` mean over heads of the probability that the first text is preferred.
    """

    agreed: BoolArray
    disagreed: BoolArray
    consensus: Array

    @classmethod
    def of(cls, p: Array, *, confidence: float) -> PseudoLabels:
        """Return them from probabilities `(heads, n)` that the first text is preferred.

        >>> found = PseudoLabels.of(np.array([[0.9, 0.7, 0.2], [0.8, 0.95, 0.6]]), confidence=0.75)
        >>> found.agreed, found.disagreed
        (array([ True, False, False]), array([False, False,  True]))
        """
        low, high = p.min(axis=0), p.max(axis=0)
        agreed = (low >= confidence) | (high <= 1 - confidence)
        return cls(agreed, (low < 0.5) & (high > 0.5), np.asarray(p.mean(axis=0)))

    def pairs(self, unlabelled: Pairs, *, weight: float, disagreement: float) -> list[Pairs]:
        """Return what is learned from them: weighted pairs in both orders of their texts.

        An agreed pair is one with the text that is preferred chosen, of the given weight. One that is disagreed about
        stands there in both orders, weighted λ·p̄ and λ·(1 − p̄), p̄ the consensus and λ the disagreement's: the loss
        of a head that says p is then λ·KL(p̄‖p) and a constant, the penalty on its distance from the consensus.
        """
        first, second = unlabelled.chosen, unlabelled.rejected
        penalty = disagreement * self.disagreed
        won = np.where(self.agreed, weight * (self.consensus > 0.5), penalty * self.consensus)
        lost = np.where(self.agreed, weight * (self.consensus < 0.5), penalty * (1 - self.consensus))
        sides = ((first, second, won), (second, first, lost))
        return [
            Pairs(unlabelled.features, chosen[w > 0], rejected[w > 0], weight=w[w > 0])
            for chosen, rejected, w in sides
            if (w > 0).any()
        ]


@dataclass(frozen=True, eq=False)
class SelfTrained:
    """What self-training gave.

    Attributes:
        model: an ensemble of the heads; its record says under "self_training" what each round agreed about.
        first: the same of the labels alone, as the first round had it.
        labelled: the pseudo-labels of the last round.
    """

    model: FittedHead
    first: FittedHead
    labelled: PseudoLabels


@dataclass(frozen=True, eq=False)
class SelfTraining:
    """Heads that learn from labelled pairs, and from unlabelled ones on which they agree with confidence.

    The heads are the members of an ensemble that read different views or embedders. After Self-Consistent Internal
    Rewards (2502.08922), in which a language model is its own judge in two ways, by its likelihoods and by what it
    writes: learn from pairs on which both agree, and pull the two together where they differ. Here both are heads on
    frozen embeddings; that the language model itself changes with its judgements is left out.

    The probabilities are those of calibrated rewards: a temperature is fitted on held-out labelled prompts, on which
    the heads are stopped or tuned as well.

    Attributes:
        head: the ensemble, as `Ensemble(base=Mlp(), members=2, diversity="embedder", views=("joint", "response"))`.
        unlabelled: pairs of which it is not said which text is preferred: the order of their texts means nothing.
        consistent: whether all heads must agree. False is plain self-training: each learns from the pairs on which it
            is confident itself, and there is no penalty.
        confidence: least probability with which a pair is labelled, inside (0.5, 1).
        disagreement: λ, the weight of the penalty on a pair about which the heads differ; 0 is off.
        weight: of a pseudo-label; labels have 1 on average.
        rounds: how often pairs are labelled and the heads fitted again from the start.
        validation_fraction: share of the labelled pairs, by prompt, that is held out.
    """

    head: Ensemble
    unlabelled: Pairs
    consistent: bool = True
    confidence: float = 0.75
    disagreement: float = 0.25
    weight: float = 0.5
    rounds: int = 2
    validation_fraction: float = 0.2

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise OptionError(f"confidence must be inside (0.5, 1), got {self.confidence}")
        if not (self.weight > 0 and self.disagreement >= 0 and self.rounds >= 1):
            raise OptionError(
                "weight must be > 0, disagreement >= 0 and rounds >= 1, got "
                f"{self.weight}, {self.disagreement}, {self.rounds}"
            )

    def fit(self, pairs: Pairs, *, seed: int) -> FittedHead:
        """Return the ensemble after the last round; see `run`."""
        return self.run(pairs, seed=seed).model

    def run(self, pairs: Pairs, *, seed: int) -> SelfTrained:
        """Fit, label and fit again.

        Args:
            pairs: labelled ones.
            seed: of the split and the fits.

        Raises:
            DataError: the unlabelled pairs have other views or another embedder than the labelled ones, the labels are
                of one prompt, or all pseudo-labels prefer the first text of their pair, or all the second.
            ConvergenceError: see `Head.fit`.
        """
        pairs, unlabelled = together(pairs, self.unlabelled)
        train, validation = pairs.split(self.validation_fraction, seed=seed)
        problems = self.head.each(Problem(train, seed, validation=validation))
        models = first = [base.fit_many([problem])[0] for base, problem in problems]
        record, labelled = [], None
        for number in range(self.rounds):
            p = np.stack([_probabilities(model, validation, unlabelled) for model in models])
            own = [p] * len(p) if self.consistent else [row[None] for row in p]
            found = [PseudoLabels.of(each, confidence=self.confidence) for each in own]
            _check(found, number)
            labelled = found[0]
            penalty = self.disagreement if self.consistent else 0.0
            more = [each.pairs(unlabelled, weight=self.weight, disagreement=penalty) for each in found]
            models = [
                base.fit_many([replace(problem, pairs=_joined([train, *extra]))])[0]
                for (base, problem), extra in zip(problems, more, strict=True)
            ]
            counts = {"agreed": labelled.agreed, "disagreed": labelled.disagreed}
            record.append({name: int(value.sum()) for name, value in counts.items()} | {"of": len(unlabelled)})
        assert labelled is not None
        model = self.head.collect(models)
        done = replace(model, record={**model.record, "self_training": record})
        return SelfTrained(done, self.head.collect(first), labelled)


def _probabilities(model: RewardModel, validation: Pairs, pairs: Pairs) -> Array:
    """Return the probability `(n,)` that the first text is preferred, after temperature scaling."""
    reward = model.score(pairs.features)
    temperature = fit_temperature(reward, validation)
    return Preferences.of(tempered(reward, temperature), pairs).p


def _check(found: Sequence[PseudoLabels], number: int) -> None:
    for each in found:
        sides = each.consensus[each.agreed] > 0.5
        if not sides.size and number == 0:
            warnings.warn(
                f"none of {len(each.agreed)} unlabelled pairs was labelled with confidence; lower the confidence, or "
                "label more",
                NoAgreementWarning,
                stacklevel=4,
            )
        if sides.size >= ONE_SIDED and (sides.all() or not sides.any()):
            which = "first" if sides.all() else "second"
            raise DataError(
                f"all {sides.size} pseudo-labels prefer the {which} text of their pair, so the order of the unlabelled "
                "pairs says which is better, or the heads have learned one thing alone, such as a constant text; if "
                "the order is a label, give these pairs as labelled ones, else shuffle the texts of each pair"
            )


def _joined(parts: Sequence[Pairs]) -> Pairs:
    """Return pairs of the same features as one, with weights; labels without one have 1."""

    def column(name: str, missing: float) -> Array:
        given = [(getattr(part, name), len(part)) for part in parts]
        return np.concatenate([np.full(n, missing) if value is None else value for value, n in given])

    return Pairs(
        parts[0].features,
        np.concatenate([part.chosen for part in parts]),
        np.concatenate([part.rejected for part in parts]),
        weight=column("weight", 1.0),
        margin=column("margin", 0.0),
        tie=column("tie", 0.0).astype(bool),
    )


def together(pairs: Pairs, more: Pairs) -> tuple[Pairs, Pairs]:
    """Return two sets of pairs over the same features, in which equal prompts have one number.

    Prompts are known by their texts; where those are not known, no two are equal.

    Raises:
        DataError: they were embedded by different embedders, or under different views.
    """
    a, b = pairs.features, more.features
    if a is b:
        return pairs, more
    if not a.embedder.agrees(b.embedder) or set(a.views) != set(b.views):
        raise DataError(
            f"labelled and unlabelled pairs need one embedder and the same views, got {sorted(a.views)} of "
            f"'{a.embedder}' and {sorted(b.views)} of '{b.embedder}'; embed both alike"
        )
    both = (a.length, b.length)
    features = Features(
        {name: np.concatenate([x, b.rows(name)]) for name, x in a.views.items()},
        prompt=np.concatenate([a.prompt, _numbers(a, b)]),
        length=None if both[0] is None or both[1] is None else np.concatenate([both[0], both[1]]),
        embedder=a.embedder,
        hashes=None if a.hashes is None or b.hashes is None else TextHashes.joined([a.hashes, b.hashes]),
    )
    moved = replace(more, features=features, chosen=more.chosen + len(a), rejected=more.rejected + len(a))
    return replace(pairs, features=features), moved


def _numbers(a: Features, b: Features) -> IntArray:
    """Return the numbers of the prompts of `b` among those of `a`."""
    new = b.prompt + (a.prompt.max() + 1 - b.prompt.min())
    if a.hashes is None or b.hashes is None:
        return np.asarray(new)
    known = dict(zip(a.hashes.prompt.tolist(), a.prompt.tolist(), strict=True))
    known.pop(0, None)  # of texts without a prompt
    found = [known.get(key, number) for key, number in zip(b.hashes.prompt.tolist(), new.tolist(), strict=True)]
    return np.array(found, dtype=np.int64)
