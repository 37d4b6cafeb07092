"""Reinforcement learning of a grammar policy, by REINFORCE or PPO, with every step recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from embrm.core.arrays import Array, IntArray
from embrm.core.trajectory import Step, Trajectory
from embrm.errors import DataError, OptionError
from embrm.policies.grammar import GrammarPolicy, ppo_gradient, reinforce_gradient

TextFunction: TypeAlias = Callable[[Sequence[str], Sequence[str]], npt.ArrayLike]
SAMPLE = 8  # texts of each step that are recorded


class Environment(Protocol):
    """What a policy is trained in: something that writes texts of counts and knows their gold reward."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""

    @property
    def reference(self) -> tuple[Array, ...]:
        """Probabilities of π_ref, one array for each attribute."""

    def write(self, counts: IntArray, *, rng: np.random.Generator) -> tuple[list[str], list[str]]:
        """Return prompts and responses with the given counts `(n, a)`."""

    def gold(self, counts: npt.ArrayLike) -> Array:
        """Return the gold reward `(n,)`."""


class RunStoppedError(DataError):
    """A reward or latent was not what a run needs. `trajectory` holds all steps before it."""

    def __init__(self, message: str, trajectory: Trajectory) -> None:
        super().__init__(message)
        self.trajectory = trajectory


@dataclass(frozen=True, kw_only=True)
class PolicyGradient:
    """Reinforcement learning of a grammar policy against any reward.

    Attributes:
        algorithm: "reinforce" (Williams 1992, leave-one-out baseline) or "ppo" (clipped, several epochs a batch).
        steps: updates; each draws a fresh batch.
        batch: texts a step. More make the gradient steadier and the run longer.
        learning_rate: Adam's step on the logits. Larger leaves π_ref sooner.
        kl_weight: β of the penalty β·KL(π‖π_ref), whose gradient is exact; 0 means off.
        shaping: "none"; "center" subtracts the mean reward of π_ref's texts, which changes what is recorded by the
            optimiser but, behind a baseline, not where it goes; "sigmoid" takes σ(r − quantile of π_ref's rewards),
            which stops paying once a text is better than most (Fu et al. 2502.18770).
        quantile: which quantile of π_ref's rewards "sigmoid" compares with.
        clip, epochs: of "ppo".
    """

    algorithm: Literal["reinforce", "ppo"] = "reinforce"
    steps: int = 200
    batch: int = 64
    learning_rate: float = 0.05
    kl_weight: float = 0.02
    shaping: Literal["none", "center", "sigmoid"] = "none"
    quantile: float = 0.5
    clip: float = 0.2
    epochs: int = 4

    def __post_init__(self) -> None:
        if self.algorithm not in ("reinforce", "ppo") or self.shaping not in ("none", "center", "sigmoid"):
            raise OptionError(
                f"algorithm must be 'reinforce' or 'ppo' and shaping 'none', 'center' or 'sigmoid', "
                f"got '{self.algorithm}' and '{self.shaping}'; correct the name"
            )
        if min(self.steps, self.epochs) < 1 or self.batch < 2:
            raise OptionError(
                f"steps and epochs must be >= 1 and batch >= 2, got {self.steps}, {self.epochs}, "
                f"{self.batch}; raise them"
            )
        if not (self.learning_rate > 0 and self.kl_weight >= 0 and 0 <= self.quantile <= 1 and 0 < self.clip < 1):
            raise OptionError(
                "expected learning_rate > 0, kl_weight >= 0, quantile in [0, 1], clip in (0, 1), got "
                f"{self.learning_rate}, {self.kl_weight}, {self.quantile}, {self.clip}; correct the value"
            )

    def train(
        self,
        environment: Environment,
        reward: TextFunction,
        *,
        seed: int,
        latent: TextFunction | None = None,
        folder: str | Path | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> Trajectory:
        """Train from π_ref and return every step's record.

        Args:
            environment: writes the texts (a `World`).
            reward: `(prompts, texts) -> (n,)`, what is maximised.
            seed: determines counts, texts and so the whole run, for a deterministic reward.
            latent: `(prompts, texts) -> (n, k)`, recorded for the detectors.
            folder: where each step is written as soon as it is done.
            on_step: called after each step.

        Raises:
            RunStoppedError: the reward or latent has a wrong length or holds NaN; the steps before are kept.
            DataError: the folder holds a run already.
        """
        rng = np.random.default_rng(seed)
        start = policy = GrammarPolicy.from_probabilities(environment.reference)
        trajectory = Trajectory(None if folder is None else Path(folder))
        moments = np.zeros((2, len(policy.flat)))
        shape = self._shape(environment, reward, trajectory, rng)
        for t in range(self.steps):
            counts = policy.sample(self.batch, rng=rng)
            prompts, texts = environment.write(counts, rng=rng)
            proxy = _checked(reward(prompts, texts), "reward", (self.batch,), trajectory)
            z = None if latent is None else _checked(latent(prompts, texts), "latent", (self.batch, None), trajectory)
            step = _record(t, policy, start, environment, _Drawn(counts, prompts, texts, proxy, z))
            trajectory.add(step)
            if on_step is not None:
                on_step(step)
            policy = self._update(policy, start, counts, shape(proxy), moments, t)
        return trajectory

    def _shape(
        self, environment: Environment, reward: TextFunction, trajectory: Trajectory, rng: np.random.Generator
    ) -> Callable[[Array], Array]:
        if self.shaping == "none":
            return lambda r: r
        policy = GrammarPolicy.from_probabilities(environment.reference)
        n = 4 * self.batch
        prompts, texts = environment.write(policy.sample(n, rng=rng), rng=rng)
        r_ref = _checked(reward(prompts, texts), "reward", (n,), trajectory)
        if self.shaping == "center":
            mean = float(r_ref.mean())
            return lambda r: r - mean
        level = float(np.quantile(r_ref, self.quantile))
        return lambda r: np.asarray(expit(r - level))

    def _update(
        self, policy: GrammarPolicy, start: GrammarPolicy, counts: IntArray, reward: Array, moments: Array, t: int
    ) -> GrammarPolicy:
        old = policy.log_probability(counts)
        epochs = self.epochs if self.algorithm == "ppo" else 1
        for epoch in range(epochs):
            if self.algorithm == "ppo":
                gradient = ppo_gradient(policy, counts, reward - reward.mean(), old=old, clip=self.clip)
            else:
                gradient = reinforce_gradient(policy, counts, reward)
            gradient = gradient - self.kl_weight * policy.kl_gradient(start)
            move = _adam(gradient, moments, t * epochs + epoch + 1) * self.learning_rate
            policy = GrammarPolicy.from_flat(policy.flat + move, like=policy)
        return policy


def _adam(gradient: Array, moments: Array, t: int) -> Array:
    moments[0] = 0.9 * moments[0] + 0.1 * gradient
    moments[1] = 0.999 * moments[1] + 0.001 * gradient**2
    return np.asarray((moments[0] / (1 - 0.9**t)) / (np.sqrt(moments[1] / (1 - 0.999**t)) + 1e-8))


def _checked(values: npt.ArrayLike, name: str, shape: tuple[int | None, ...], trajectory: Trajectory) -> Array:
    out = np.asarray(values, dtype=np.float64)
    fits = out.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, out.shape, strict=True))
    if fits and np.isfinite(out).all():
        return out
    fault = "NaN or infinity" if fits else f"shape {out.shape}"
    kept = f"in {trajectory.folder}" if trajectory.folder else "in the exception's trajectory"
    raise RunStoppedError(
        f"the {name} of step {len(trajectory)} must be finite with shape {shape}, got {fault}; "
        f"the {len(trajectory)} steps before it are {kept}",
        trajectory,
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What a policy wrote in one step, and what was said of it."""

    counts: IntArray
    prompts: list[str]
    texts: list[str]
    proxy: Array
    latent: Array | None

    def sample(self, gold: Array) -> list[dict[str, Any]]:
        """Return the first few texts with all that is known of them."""
        columns = {
            "prompt": self.prompts,
            "text": self.texts,
            "counts": self.counts.tolist(),
            "proxy": self.proxy,
            "gold": gold,
        }
        return [{name: values[i] for name, values in columns.items()} for i in range(min(SAMPLE, len(self.texts)))]


def _record(t: int, policy: GrammarPolicy, start: GrammarPolicy, environment: Environment, drawn: _Drawn) -> Step:
    gold = environment.gold(drawn.counts)
    return Step(
        step=t,
        kl=policy.kl(start),
        entropy=policy.entropy(),
        proxy=float(drawn.proxy.mean()),
        gold=float(gold.mean()),
        means=dict(zip(environment.attributes, policy.means.tolist(), strict=True)),
        logits=policy.flat.tolist(),
        sample=drawn.sample(gold),
        latent=drawn.latent,
    )
