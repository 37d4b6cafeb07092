"""Gradient-boosted trees on winners and losers: the tree baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs, Problem
from embrm.core.processes import spread
from embrm.core.progress import tracked
from embrm.core.registry import register
from embrm.core.results import State
from embrm.errors import OptionError
from embrm.heads._forest import Forest
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient.split import bootstrap_prompts, hold_out, targets


@register
@dataclass(frozen=True, kw_only=True)
class Boosting(Head):
    """Gradient-boosted trees that tell winners from losers; their log-odds are the reward.

    Pointwise classification with scikit-learn's HistGradientBoostingClassifier (the tree baseline of Sun et al.
    2411.04991). A tie counts as half a win and half a loss of both texts. A classifier of single texts knows no margin:
    margins of the pairs are not used. The latent is the reward itself.

    Attributes:
        members: 1 for the fit to all pairs; more are fitted to bootstraps over prompts.
        iterations: the most trees; the best number on held-out prompts is kept.
        learning_rate: shrinkage of each tree.
        leaves: the most leaves of a tree.
        columns: share of the columns, drawn anew for each node, among which it looks for its split: below 1 the trees
            differ more, which helps where many columns say a little each, and cost less.
        bins: values of a column that are told apart.
        least_texts: the fewest texts in a leaf.
        l2: penalty of a leaf's value.
        validation_fraction: share of the pairs, by prompt, held out to choose the number of trees.
    """

    members: int = 1
    iterations: int = 300
    learning_rate: float = 0.05
    leaves: int = 8
    columns: float = 0.2
    bins: int = 32
    least_texts: int = 20
    l2: float = 1.0
    validation_fraction: float = 0.15

    def __post_init__(self) -> None:
        for name, least in (
            ("members", 1),
            ("iterations", 1),
            ("leaves", 2),
            ("bins", 2),
            ("least_texts", 1),
            ("l2", 0),
        ):
            if getattr(self, name) < least:
                raise OptionError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise OptionError(f"learning_rate must be > 0, got {self.learning_rate}")
        if not 0 < self.columns <= 1:
            raise OptionError(f"columns must be a share inside (0, 1], got {self.columns}")
        if self.bins > 255:
            raise OptionError(f"bins must be <= 255, got {self.bins}")
        if not 0 < self.validation_fraction < 1:
            raise OptionError(f"validation_fraction must be inside (0, 1), got {self.validation_fraction}")

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the problems one by one; scikit-learn's trees use the cores inside each fit."""
        return spread(self._fit, problems, names=[f"boosting, seed {problem.seed}" for problem in problems])

    def _fit(self, problem: Problem) -> FittedBoosting:
        train, validation = hold_out(problem, fraction=self.validation_fraction, view=self.view)
        rng = np.random.default_rng(problem.seed)
        x = problem.pairs.features.matrix(self.view)
        samples = [
            train if self.members == 1 else train.take(bootstrap_prompts(train, rng)) for _ in range(self.members)
        ]
        forests = tuple(
            self._grow(pairs, validation, seed=int(rng.integers(1 << 32))) for pairs in tracked(samples, "members")
        )
        record = {
            "pairs": len(train),
            "validation_pairs": 0 if validation is None else len(validation),
            "trees": [len(forest.root) for forest in forests],
        }
        return FittedBoosting(
            head=self,
            width=x.shape[1],
            embedder=problem.pairs.features.embedder,
            reference=np.array([forest(x[train.rows]).mean() for forest in forests]),
            record=record,
            forests=forests,
        )

    def _grow(self, pairs: Pairs, validation: Pairs | None, *, seed: int) -> Forest:
        """Fit one classifier and cut it to the number of trees that is best on the validation pairs."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        x, label, weight = _texts(pairs, self.view)
        model = HistGradientBoostingClassifier(
            learning_rate=self.learning_rate,
            max_iter=self.iterations,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.least_texts,
            l2_regularization=self.l2,
            max_features=self.columns,
            max_bins=self.bins,
            early_stopping=False,  # it would split by row: texts of one prompt on both sides
            random_state=seed,
        )
        # Equal weights are left out: with weights scikit-learn bins ten times as slowly.
        model.fit(x, label, sample_weight=None if np.ptp(weight) == 0 else weight)
        count = model.n_iter_
        if validation is not None:
            losses = self._losses(model, validation)
            count = int(np.argmin(losses)) + 1
        return Forest.of(model, count)

    def _losses(self, model: Any, validation: Pairs) -> list[float]:
        """Return the Bradley–Terry loss of the validation pairs after each tree."""
        x = validation.features.matrix(self.view)
        weight, target, _ = targets(validation)
        staged = model.staged_decision_function(np.concatenate([x[validation.chosen], x[validation.rejected]]))
        margins = (score[: len(validation)] - score[len(validation) :] for score in staged)
        return [float(weight @ (np.logaddexp(0, z) - target * z)) for z in margins]

    def space(self) -> dict[str, tuple[Any, ...]]:
        """Return shrinkage, size and regularity of the trees."""
        return {
            "learning_rate": (0.02, 0.05, 0.1),
            "leaves": (3, 4, 8, 16),
            "columns": (0.05, 0.2, 1.0),
            "least_texts": (5, 20, 80),
            "l2": (0.0, 1.0, 10.0),
        }

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        width = state.config["width"]
        return FittedBoosting(
            head=self,
            width=width,
            embedder=state.config["embedder"],
            reference=state.array("reference", self.members),
            record=state.config["record"],
            forests=tuple(Forest.read(state, f"{k}.", width=width) for k in range(self.members)),
        )


@dataclass(frozen=True, eq=False)
class FittedBoosting(FittedHead):
    """Boosted trees, a forest a member; the latent of a member is its reward, one column.

    Attributes:
        forests: one a member.
    """

    forests: tuple[Forest, ...]

    def _draws(self, x: Array) -> Array:
        return np.stack([forest(x) for forest in self.forests])

    def _latent(self, x: Array, member: int) -> Array:
        return self.forests[member](x)[:, None]

    def arrays(self) -> dict[str, Array]:
        """Return the trees of all members."""
        return {name: a for k, forest in enumerate(self.forests) for name, a in forest.arrays(f"{k}.").items()}


def _texts(pairs: Pairs, view: str) -> tuple[Array, IntArray, Array]:
    """Return texts `(m, d)`, whether each won, and weights: a tie is half a win and half a loss of both texts."""
    weight, target, _ = targets(pairs)
    rows = np.concatenate([pairs.chosen, pairs.rejected, pairs.chosen, pairs.rejected])
    label = np.repeat([1, 0, 0, 1], len(pairs))
    weights = np.concatenate([weight * target] * 2 + [weight * (1 - target)] * 2)
    used = weights > 0  # a text of weight 0 would still count for the size of a leaf
    return pairs.features.matrix(view)[rows[used]], label[used], weights[used]
