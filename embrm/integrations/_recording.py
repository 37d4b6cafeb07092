"""What a run of TRL's trainer leaves behind: each log becomes a step of a trajectory, with gold beside the reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from embrm.core.arrays import Array, as_vector
from embrm.core.trajectory import Step
from embrm.integrations._grpo_trainer import KL
from embrm.integrations.resume import Begun, complete
from embrm.integrations.trl import RewardFunction, said, spread
from embrm.policies.pool_file import Gold
from embrm.policies.training import SAMPLE
from embrm.world.judge import WorldGold


@dataclass(eq=False)
class GoldFunction:
    """A gold reward as a reward function of weight 0: TRL then logs its mean over all processes.

    Attributes:
        reward: the gold.
        seen: what it said of the last batch.
        means: the mean uses of the world's attributes in it, where the gold is the world's.
    """

    reward: Gold
    seen: Array | None = None
    means: Mapping[str, float] = field(default_factory=dict)

    __name__ = "gold"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **others: Any) -> list[float | None]:
        _, written, rows = said(prompts, completions)
        self.seen = None
        if not rows:
            return [None] * len(completions)
        asked = [prompts[i] for i in rows]
        self.seen = as_vector(self.reward(asked, written), "gold", len(rows), np.float64)
        if isinstance(self.reward, WorldGold):
            self.means = self.reward.means(asked, written)
        return spread(self.seen, rows, len(completions))


@dataclass(eq=False)
class Recorder(TrainerCallback):
    """Turns what TRL logs after each step into the steps of a trajectory, and stops at an alarm."""

    run: Begun
    reward: RewardFunction
    gold: GoldFunction | None
    on_step: Callable[[Step], None] | None
    stop_on_alarm: bool

    def recall(self) -> None:
        """Let the reward know the steps that an interrupted run had done."""
        told = zip(self.run.trajectory.steps, self.run.prompts, strict=True)
        self.reward.recall([(step.latent, prompts) for step, prompts in told if step.sample])

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = False  # the run is done, and its policy saved

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.is_world_process_zero:
            complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.run.prompts)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **others: Any) -> None:
        if logs is None or "reward" not in logs:  # the end of training, or an update that drew no new responses
            return
        step = self._step(state.global_step - 1, logs)
        self.run.trajectory.add(step)
        seen = self.reward.seen
        self.run.prompts.append([] if self.reward.alarm is None or seen is None else seen.prompts)
        if self.on_step is not None:
            self.on_step(step)
        # The log is the same on every process, so that all of them stop.
        if self.stop_on_alarm and logs.get(f"embrm/{self.reward.__name__}/alarm"):
            control.should_training_stop = True

    def _step(self, number: int, logs: dict[str, Any]) -> Step:
        length = logs["completions/mean_length"]  # TRL's means are over tokens
        seen, gold = self.reward.seen, None if self.gold is None else self.gold.seen
        sample = []
        if seen is not None:
            for i in range(0, len(seen.texts), math.ceil(len(seen.texts) / SAMPLE)):
                row = {"prompt": seen.prompts[i], "text": seen.texts[i], "proxy": float(seen.value[i])}
                sample.append(row if gold is None else row | {"gold": float(gold[i])})
        return Step(
            step=number,
            kl=_number(logs[KL]) if KL in logs else _number(logs["kl"]) * length,
            entropy=_number(logs["entropy"]) * length,
            proxy=_number(logs[f"rewards/{self.reward.__name__}/mean"]),
            gold=_number(logs.get("rewards/gold/mean")),
            means={} if self.gold is None else dict(self.gold.means),
            logits=[],
            sample=sample,
            latent=None if seen is None else seen.latent,
            cut=float(logs["completions/clipped_ratio"]),
        )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
