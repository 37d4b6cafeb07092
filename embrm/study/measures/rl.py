"""Reinforcement learning inside a study: a policy optimised against a fitted head, beside the head's training texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from embrm import detectors, selectors
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.core.recipe import make
from embrm.core.trajectory import Trajectory
from embrm.data.encode import encode
from embrm.errors import DataError, MissingExtraError
from embrm.evaluation.penalty import LatentDistance
from embrm.heads import FittedHead
from embrm.integrations.trl import RewardFunction
from embrm.lm.checkpoint import Prompt
from embrm.monitoring.trace import follow
from embrm.policies.pool_file import Gold
from embrm.policies.training import PolicyGradient
from embrm.study.config import DetectionConfig, RLConfig, RuleConfig, StudyConfig
from embrm.study.datasets import Dataset
from embrm.study.datasets.language_model import LanguageModelData
from embrm.study.datasets.world import WorldData
from embrm.study.measures.detection import detector_metrics, texts_of
from embrm.study.metric import Metric
from embrm.study.results import Cell, Row
from embrm.study.schema import WINDOW
from embrm.world.judge import NAME as LM
from embrm.world.judge import WorldGold, world_prompts

TrainedPolicy: TypeAlias = tuple[Trajectory, Array | None]  # and the vectors of its texts, where they were kept
CLOUD = 600  # training texts that are drawn as the reference


def rl(config: StudyConfig, data: Dataset, model: FittedHead, cell: Cell, key: str, *, training: Pairs) -> Row:
    """Return the row of one run; without the embedder's model its note `not_run` says what is missing.

    Args:
        config: its part `rl`, and the detectors.
        data: the world.
        model: the reward.
        cell: what the row is about.
        key: its name.
        training: the pairs that the model was fitted on.

    Raises:
        DataError: the data set cannot write new texts, or the rule's penalty is not known of them.
    """
    asked = config.rl
    assert asked is not None
    try:
        rule = next((rule for rule in config.rules if rule.label == cell.rule), None)
        reward = _reward(data, model, rule, training)
        run, joint = _trained_policy(asked, data, reward, seed=cell.seed)
    except MissingExtraError as error:
        return Row(cell, key, notes={"not_run": str(error)})
    known = training.features.take(texts_of(training))
    reference = model.latent(known)
    latent = np.stack([step.latent for step in run.steps if step.latent is not None])
    centre, axes = _principal(reference)
    arrays = {Metric("run", name): run.series(name) for name in ("kl", "gold", "proxy")}
    arrays |= {Metric("cloud"): (reference[:CLOUD] - centre) @ axes, Metric("latent"): (latent - centre) @ axes}
    arrays |= _run_detection(config.detection, "latent", reference, latent, known.prompt, seed=cell.seed)
    if joint is not None:
        arrays |= _run_detection(config.detection, "joint", known.matrix("joint"), joint, known.prompt, seed=cell.seed)
    return Row(cell, key, arrays=arrays, notes={"attributes": list(run.steps[0].means), "steps": _steps(run)})


def _reward(data: Dataset, model: FittedHead, rule: RuleConfig | None, training: Pairs) -> RewardFunction:
    """Return what a policy is optimised for: the value that a rule gives each text, without one the mean of draws."""
    if not isinstance(data, WorldData | LanguageModelData):
        raise DataError(f"dataset '{data.name}' cannot write the new texts that a training run needs; take a world")
    embedder = data.embedder() if isinstance(data, WorldData) else data.recipe
    if rule is None:
        return RewardFunction(model, embedder, latents=True)
    if rule.penalty == "experts":
        raise DataError(f"the penalty of the rule '{rule.label}' is not known of new texts; take it out of rl.rules")
    penalty = None
    if rule.penalty:
        # As in `latent_distance`, but for classes of prompts, which a trainer does not know of.
        known = model.latent(training.features.take(texts_of(training)))
        penalty = LatentDistance(detectors.get("mahalanobis")(squared=True), known)
    selector = make(selectors.registry, rule.name, rule.options)
    return RewardFunction(model, embedder, selector=selector, penalty=penalty, latents=True)


def _trained_policy(asked: RLConfig, data: Dataset, reward: RewardFunction, *, seed: int) -> TrainedPolicy:
    if isinstance(data, LanguageModelData):
        return _by_grpo(asked, data.policy.model, data.prompts, reward, data.gold_model, seed=seed), None
    assert isinstance(data, WorldData)
    if asked.policy == "grammar":
        return _in_the_world(asked, data, reward, seed=seed)
    world = data.world.world
    return _by_grpo(asked, LM, world_prompts(world)[1], reward, WorldGold(world), seed=seed), None


def _by_grpo(
    asked: RLConfig, start: str, prompts: Sequence[Prompt], reward: RewardFunction, gold: Gold, *, seed: int
) -> Trajectory:
    from embrm.integrations.grpo import GRPO

    names = ("steps", "batch", "learning_rate", "kl_weight", "group", "max_new_tokens", "options")
    training = GRPO(**{name: getattr(asked, name) for name in names})
    return training.train(start, prompts, reward=reward, seed=seed, gold=gold)


def _in_the_world(asked: RLConfig, data: WorldData, reward: RewardFunction, *, seed: int) -> tuple[Trajectory, Array]:
    """Return the run and the vectors of all its texts `(steps, batch, d)`."""
    embedder, vectors, latents = data.embedder().fleeting, list[Array](), list[Array | None]()

    def value(prompts: Sequence[str], texts: Sequence[str]) -> Array:
        seen = reward.score(prompts, texts, seed=seed)
        latents.append(seen.latent)
        return seen.value

    def latent(prompts: Sequence[str], texts: Sequence[str]) -> Array:
        # Embedded for the reward a moment ago: from the cache, where the embedder keeps such texts.
        vectors.append(encode(prompts, texts, embedder=embedder, views=("joint",)).features.matrix("joint"))
        seen = latents.pop()
        assert seen is not None
        return seen

    training = PolicyGradient(
        steps=asked.steps, batch=asked.batch, learning_rate=asked.learning_rate, kl_weight=asked.kl_weight
    )
    run = training.train(data.world.world, value, seed=seed, latent=latent)
    return run, np.stack(vectors)


def _principal(x: Array) -> tuple[Array, Array]:
    """Return the mean `(k,)` and the first two principal axes `(k, 2)`; a latent of one column gets an empty second."""
    centre = x.mean(axis=0)
    axes = np.linalg.svd(x - centre, full_matrices=False)[2][:2].T
    return centre, np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))


def _run_detection(
    config: DetectionConfig, space: str, reference: Array, texts: Array, prompt: IntArray, *, seed: int
) -> dict[Metric, Array]:
    """Return each detector's statistic, and its p-value where it has one, of the last steps at every step."""
    out: dict[Metric, Array] = {}
    for name in config.detectors:
        fitted = detectors.get(name)().fit(reference, prompt=prompt, seed=seed)
        out |= detector_metrics(name, space, follow(fitted, list(texts), window=WINDOW))
    return out


def _steps(run: Trajectory) -> list[dict[str, Any]]:
    return [
        {name: getattr(step, name) for name in ("step", "kl", "proxy", "gold", "means", "sample")} for step in run.steps
    ]
