"""A fitted head beside its reference texts: what it says of a response, and which detector raises an alarm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from embrm import detectors, selectors
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features
from embrm.core.results import Reward
from embrm.detectors import FittedDetector
from embrm.errors import OptionError
from embrm.heads import FittedHead, FittedRetrieval
from embrm.monitoring.spaces import principal_axes
from embrm.selectors import ValueRule

SEED = 0  # of the detectors' splits, as `embrm detect` has it
# Shown name → detector and the space in which it compares; both as `embrm detect` calls them.
DETECTORS = {
    "latent distance": ("mahalanobis", "latent"),
    "nearest neighbours": ("neighbours", "latent"),
    "disagreement": ("conformal", "disagreement"),
    "length": ("conformal", "length"),
}
SHOWN = 3  # comparisons that voted
RULES = ("mean", "worst_case", "lower_bound")


@dataclass(frozen=True, eq=False)
class Judge:
    """One head and its reference texts.

    Attributes:
        model: the fitted head.
        reference: features of `m` reference responses.
        prompt: `(m,)` which prompt each answers.
        learnt: prompt, chosen and rejected text of each training pair, where they are known: the page shows those that
            vote.
    """

    model: FittedHead
    reference: Features
    prompt: IntArray
    learnt: Sequence[tuple[str, str, str]] = ()

    @cached_property
    def reward(self) -> Reward:
        """The rewards of the reference, each draw centred on the model's training texts."""
        return self.model.score(self.reference).centred()

    @property
    def rules(self) -> list[str]:
        """Names of the rules that value a text by itself, as far as the model's draws allow them."""
        return [*RULES] if self.model.members > 1 and self.model.kind == "members" else ["mean"]

    @cached_property
    def latent(self) -> Array:
        """Latents of the reference, `(m, k)`."""
        return self.model.latent(self.reference)

    def value(self, reward: Reward, rule: str) -> Array:
        """Return the rule's value of each text `(n,)`.

        Raises:
            OptionError: the rule does not value texts by themselves, or is none of this model's.
        """
        made = selectors.get(rule)() if rule in self.rules else None
        if not isinstance(made, ValueRule):
            raise OptionError(f"no rule '{rule}' for this model. There are: {', '.join(self.rules)}.")
        return made(reward).value

    def usual(self, rule: str) -> Array:
        """Return the rule's values of the reference, sorted `(m,)`."""
        if rule not in self._usual:
            self._usual[rule] = np.sort(self.value(self.reward, rule))
        return self._usual[rule]

    def say(self, features: Features, *, rule: str = "mean") -> list[dict[str, Any]]:
        """Return for each of `n` responses its reward, sd, percentile, and what the detectors say.

        `reward` with the rule "mean" and `sd` are those of `embrm score`; the detectors' numbers are those of
        `embrm detect` on the same reference.

        Raises:
            OptionError: see `value`.
        """
        reward = self.model.score(features).centred()
        value, usual = self.value(reward, rule), self.usual(rule)
        below = np.searchsorted(usual, value, side="left") + np.searchsorted(usual, value, side="right")
        spaces = self._spaces(features, reward)
        verdicts = {name: fitted.check(spaces[DETECTORS[name][1]]) for name, fitted in self.fitted.items()}
        place, evidence = self.onto_map(self._wide(features, spaces["latent"])), self._evidence(features)
        return [
            {
                "reward": float(value[i]),
                "sd": float(reward.sd[i]),
                "percentile": float(100 * below[i] / (2 * len(usual))),
                "place": place[i].tolist(),
                "evidence": evidence[i],
                "detectors": {
                    name: {
                        "score": float(v.scores[i]),
                        "p": float(v.p_values[i]) if v.p_values is not None else None,
                        "alarm": bool(v.flagged[i]) if v.flagged is not None else None,
                    }
                    for name, v in verdicts.items()
                },
            }
            for i in range(len(value))
        ]

    def _evidence(self, features: Features) -> list[dict[str, Any] | None]:
        """Return what votes on each response, where the head is one that asks labelled comparisons."""
        if not isinstance(self.model, FittedRetrieval):
            return [None] * len(features)
        found = self.model.evidence(features, most=SHOWN)
        names = ("prompt", "chosen", "rejected")
        return [
            {
                "abstains": evidence.abstains,
                "votes": [
                    vars(vote) | (dict(zip(names, self.learnt[vote.pair], strict=True)) if self.learnt else {})
                    for vote in evidence.votes
                ],
            }
            for evidence in found
        ]

    @cached_property
    def fitted(self) -> dict[str, FittedDetector]:
        """The detectors, fitted to the reference, without those that have nothing to compare or too few prompts."""
        found, spaces = {}, self._spaces(self.reference, self.reward)
        for name, (detector, space) in DETECTORS.items():
            if space == "disagreement" and self.model.members == 1:
                continue
            try:
                found[name] = detectors.get(detector)().fit(spaces[space], prompt=self.prompt, seed=SEED)
            except OptionError:  # fewer prompts than the level needs
                continue
        return found

    def place(self, features: Features) -> Array:
        """Return where each response lies on the map of the reference, `(n, 2)`."""
        return self.onto_map(self._wide(features, self.model.latent(features)))

    @cached_property
    def onto_map(self) -> Callable[[Array], Array]:
        """Rows as wide as the map's space `(n, k)` → `(n, 2)`: the reference's first two principal axes."""
        return principal_axes(self._wide(self.reference, self.latent), axes=2)

    def _wide(self, features: Features, latent: Array) -> Array:
        """Return the latents; where that is the reward alone, the vectors that the head reads."""
        return latent if latent.shape[1] > 1 else features.matrix(self.model.head.view)

    @cached_property
    def _usual(self) -> dict[str, Array]:
        return {}

    def _spaces(self, features: Features, reward: Reward) -> dict[str, Array]:
        """Return what detectors compare, `(n, k)` each; `reward` is that of the features, centred."""
        assert features.length is not None
        latent = self.latent if features is self.reference else self.model.latent(features)
        length = np.asarray(features.length, dtype=np.float64)
        return {"latent": latent, "disagreement": reward.sd[:, None], "length": length[:, None]}
