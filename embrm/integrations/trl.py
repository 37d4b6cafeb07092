"""A fitted head as the reward function of TRL's trainers, with its uncertainty, a penalty and an alarm."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from embrm import selectors
from embrm.core.arrays import Array, BoolArray
from embrm.core.data import Features
from embrm.data.chat import is_silent, prompt_text, response_text
from embrm.data.encode import embedder_of, encode
from embrm.data.texts import Texts
from embrm.detectors import Detector
from embrm.embedders import Embedder
from embrm.errors import DataError, OptionError
from embrm.evaluation.penalty import LatentDistance, check_penalty
from embrm.heads import FittedHead, load_model
from embrm.integrations._naming import model_name
from embrm.monitoring.alarm import Alarm
from embrm.monitoring.rule import AlarmRule
from embrm.selectors import Selector


class SharedNameWarning(UserWarning):
    """Several reward functions of a trainer have one name, and its logs keep one column for all of them."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a reward function said of its last batch; completions that were None are not among the `n`.

    Attributes:
        prompts, texts: as the embedder read them.
        value: `(n,)` what was returned.
        uncertainty: `(n,)` standard deviation over the head's draws.
        cut: `(n,)` True where the text was longer than the embedder reads.
        latent: `(n, k)`, or None where nothing needed it.
        penalty: `(n,)` the detector's scores, before the rule weighs them, or None.
    """

    prompts: list[str]
    texts: list[str]
    value: Array
    uncertainty: Array
    cut: BoolArray
    latent: Array | None = None
    penalty: Array | None = None


@dataclass(eq=False)
class RewardFunction:
    """What `GRPOTrainer(reward_funcs=…)` takes: a fitted head with its embedder, by any selector's value.

    It can be pickled; a model given as a folder is loaded where it is first called, so that its pickle is small. A
    completion of None, or of messages without content and calls of tools, gets None, which TRL leaves out of the group;
    an empty completion is scored as an empty text, so that a policy can learn what silence is worth. What
    becomes of turns, thinking and calls is the rule of `embrm.data.chat`, as for the files that trained the head. TRL's
    tables get the columns `NAME/uncertainty` and `NAME/penalty` beside its own `NAME`, and its metrics, beside its own
    `rewards/NAME/mean`, are `embrm/NAME/uncertainty` (mean standard deviation over draws), `embrm/NAME/penalty`,
    `embrm/NAME/cut` (share of texts longer than the embedder reads), and with an alarm `embrm/NAME/statistic`,
    `embrm/NAME/p_value` where the detector has one, and `embrm/NAME/alarm` (1 from the batch at which it fired on).
    NAME is `name`, so that several functions are told apart. With several processes each watches its own completions.

    Attributes:
        model: a fitted head, or the folder of a saved one.
        embedder: what embeds the texts; None takes what the model was trained with.
        selector: whose value is the reward; "mean" unless given. `penalised(weight)` subtracts the penalty.
        penalty: a detector of single rows in the latent (mahalanobis is InfoRM's IBL); see `penalised_by`.
        alarm: watches the latents.
        seed: of rules that draw what they value by (thompson takes one draw of the head for each prompt); batch b uses
            `seed + b`.
        latents: whether to keep them in `seen` also where neither penalty nor alarm need them.
        name: what TRL calls the function in its logs, to tell several apart; None takes the name of the model's folder,
            or of the head where the model has none.
        keep_system: whether system turns stay in prompts; None does as in the model's training texts.
        seen: the last batch, or None before the first and where all its completions were None.

    Raises:
        OptionError: there is a penalty and the selector takes none, or the other way around; or the model does not say
            what embedded its training texts and no embedder is given.
    """

    model: str | Path | FittedHead
    embedder: Embedder | None = None
    _: KW_ONLY
    selector: Selector | None = None
    penalty: LatentDistance | None = None
    alarm: Alarm | None = None
    seed: int = 0
    latents: bool = False
    name: str | None = None
    keep_system: bool | None = None
    seen: Seen | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.name == "":
            raise OptionError("a reward function's name must not be empty; leave it out to take the model's")
        self._told = False  # that texts are cut is said once
        self._named = False  # and so is that another function has the same name
        self.forget()
        check_penalty([self._rule], given=self.penalty is not None)

    @property
    def __name__(self) -> str:
        """What TRL calls it in its logs."""
        return model_name(self.model) if self.name is None else self.name

    @__name__.setter  # noqa: A003
    def __name__(self, name: str) -> None:
        self.name = name

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        **others: Any,
    ) -> list[float | None]:
        """Return the reward of each completion, or None where there is nothing to score.

        Args:
            prompts: `n` texts or lists of messages.
            completions: `n` texts, lists of messages, or None.
            log_metric: TRL's; gets the batch's means.
            log_extra: TRL's; gets a column with an entry a completion.
            others: the data set's columns and what else TRL gives; of no use here.

        Raises:
            DataError: a prompt or a completion is neither text nor messages, or there are not equally many.
        """
        keep = self._model.embedder.keep_system if self.keep_system is None else self.keep_system
        asked, written, rows = said(prompts, completions, keep_system=keep)
        self.seen = None
        if not rows:
            return [None] * len(completions)
        self.seen = seen = self.score(asked, written, seed=self.seed + self._batches)
        self._batches += 1
        own = self.__name__
        self._check_name(own, log_metric)
        for name, value in self._metrics(seen).items():
            if log_metric is not None:
                log_metric(f"embrm/{own}/{name}", value)
        for name, column in (("uncertainty", seen.uncertainty), ("penalty", seen.penalty)):
            if log_extra is not None and column is not None:
                log_extra(f"{own}/{name}", spread(column, rows, len(completions)))
        return spread(seen.value, rows, len(completions))

    def forget(self) -> None:
        """Forget all batches, for another run."""
        self.seen = None
        self._batches = 0
        if self.alarm is not None:
            self.alarm.forget()

    def recall(self, batches: Iterable[tuple[Array | None, Sequence[str]]]) -> None:
        """Forget all batches but these of an interrupted run, to go on behind them.

        Args:
            batches: of each the latents `(n, k)`, which only an alarm needs, and the prompts.
        """
        self.forget()
        for latents, prompts in batches:
            self._batches += 1
            if self.alarm is not None and latents is not None:
                self.alarm.see(latents, prompts)

    def score(self, prompts: Sequence[str], texts: Sequence[str], *, seed: int) -> Seen:
        """Return what the head says of `n >= 1` texts, with the selector's value; a run of one prompt is a pool."""
        features, cut = self._features(prompts, texts, self._embedder.fleeting)  # of a policy that moves on
        reward = self._model.score(features).centred()
        needed = self.latents or self.penalty is not None or self.alarm is not None
        latent = self._model.latent(features) if needed else None
        penalty = None if self.penalty is None or latent is None else self.penalty(latent)
        starts = [i for i in range(len(prompts)) if i == 0 or prompts[i] != prompts[i - 1]]
        value = self._rule(reward, offsets=[*starts, len(prompts)], penalty=penalty, seed=seed).value
        return Seen(list(prompts), list(texts), value, reward.sd, cut, latent, penalty)

    def latent(self, texts: Texts) -> Array:
        """Return the latents `(m, k)` of the head's first member, such as those of a reference."""
        return self._model.latent(self._features(texts.prompts, texts.responses, self._embedder)[0])

    def penalised_by(self, detector: Detector, reference: Texts, *, weight: float) -> RewardFunction:
        """Return the mean reward minus `weight` times how unusual the latent is among those of the reference texts.

        With `mahalanobis` it is InfoRM's IBL (2402.09345, 2025 extension).

        Raises:
            OptionError: the detector judges sets, not rows, or the weight is negative.
        """
        if not weight >= 0:
            raise OptionError(f"the penalty's weight must be >= 0 and finite, got {weight}")
        distance = LatentDistance(detector, self.latent(reference))
        return replace(self, selector=selectors.get("penalised")(weight=weight), penalty=distance)

    def watched_by(
        self, detector: Detector, reference: Texts, *, rule: AlarmRule | None = None, seed: int = 0
    ) -> RewardFunction:
        """Return the same reward with an `Alarm`, fitted to the latents of the reference texts.

        Args:
            detector: a recipe.
            reference: reference texts.
            rule: when there is an alarm; its window counts batches. None is `AlarmRule()`.
            seed: of the detector's splits.

        Raises:
            DataError: the reference is too small for the detector.
            OptionError: the reference has too few prompts for the detector's alpha.
        """
        alarm = Alarm(detector, self.latent(reference), reference, rule=rule or AlarmRule(), seed=seed)
        return replace(self, alarm=alarm)

    def _check_name(self, name: str, log_metric: object) -> None:
        """Warn once where the trainer whose method `log_metric` is has another function of the same name."""
        names = getattr(getattr(log_metric, "__self__", None), "reward_func_names", [])
        if not self._named and names.count(name) > 1:
            self._named = True
            warnings.warn(
                f"{names.count(name)} reward functions are called {name!r}, and the trainer's logs keep one column for "
                "all of them; give each a name of its own: RewardFunction(…, name=…)",
                SharedNameWarning,
                stacklevel=3,
            )

    def _metrics(self, seen: Seen) -> dict[str, float]:
        found = {"uncertainty": float(seen.uncertainty.mean()), "cut": float(seen.cut.mean())}
        if seen.penalty is not None:
            found["penalty"] = float(seen.penalty.mean())
        if self.alarm is not None and seen.latent is not None:
            verdict = self.alarm.see(seen.latent, seen.prompts)
            found["statistic"] = verdict.statistic
            if "p_value" in verdict.details:
                found["p_value"] = verdict.details["p_value"]
            found["alarm"] = float(self.alarm.fired is not None)
        return found

    def _features(
        self, prompts: Sequence[str], responses: Sequence[str], embedder: Embedder
    ) -> tuple[Features, BoolArray]:
        done = encode(prompts, responses, embedder=embedder, views=self._model.widths)
        if not self._told:
            done.warn()
        self._told |= bool(done.cut.any())
        return done.features, done.cut

    @cached_property
    def _model(self) -> FittedHead:
        return self.model if isinstance(self.model, FittedHead) else load_model(self.model)

    @cached_property
    def _embedder(self) -> Embedder:
        return embedder_of(self._model) if self.embedder is None else self.embedder

    @cached_property
    def _rule(self) -> Selector:
        return selectors.get("mean")() if self.selector is None else self.selector

    def __getstate__(self) -> dict[str, Any]:
        cached = ("_model", "_embedder", "_rule", "seen")
        return {name: value for name, value in vars(self).items() if name not in cached} | {"seen": None}


def said(
    prompts: Sequence[Any], completions: Sequence[Any], *, keep_system: bool = False
) -> tuple[list[str], list[str], list[int]]:
    """Return prompts and completions as text, and the rows that they stood in; those without a word are left out.

    Raises:
        DataError: see `RewardFunction`.
    """
    if len(prompts) != len(completions):
        raise DataError(f"every completion needs its prompt, got {len(prompts)} prompts for {len(completions)}")
    rows = [i for i, c in enumerate(completions) if c is not None and not (isinstance(c, list) and is_silent(c))]
    asked = [prompt_text(prompts[i], f"prompt {i} of the batch", keep_system=keep_system) for i in rows]
    return asked, [response_text(completions[i], f"completion {i} of the batch") for i in rows], rows


def spread(values: Array, rows: Sequence[int], size: int) -> list[float | None]:
    """Return `size` entries: the values in their rows, None elsewhere."""
    found = dict(zip(rows, values.tolist(), strict=True))
    return [found.get(i) for i in range(size)]
