"""Reinforcement learning of a language model by TRL's GRPO, recorded step by step like a run of the grammar policy."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embrm.core.files import fingerprint
from embrm.core.names import suggestion
from embrm.core.trajectory import Step, Trajectory
from embrm.data.chat import prompt_text
from embrm.errors import DataError, MissingExtraError, OptionError
from embrm.integrations._recording import GoldFunction, Recorder
from embrm.integrations.resume import FOLDER, Begun, begin, latest
from embrm.integrations.trl import RewardFunction
from embrm.lm.batching import MemoryWarning
from embrm.lm.checkpoint import Checkpoint, Prompt, devices, in_bfloat16, quiet
from embrm.policies.pool_file import Gold
from embrm.policies.training import RunStoppedError

try:
    from trl import GRPOConfig  # type: ignore[attr-defined]  # it exports lazily

    from embrm.integrations._grpo_trainer import check_same_form, passes_before, prompts_of, trainer_of
except ImportError as error:
    raise MissingExtraError(
        f"reinforcement learning of a language model needs TRL ({error}): pip install 'embrm[trl]'"
    ) from error


@dataclass(frozen=True, kw_only=True)
class GRPO:
    """Group-relative policy optimisation (2402.03300) of a causal language model by TRL's trainer.

    Attributes:
        steps: updates; each draws fresh responses.
        batch: responses a step, on each process where there are several.
        group: responses to a prompt, which are compared with each other; it divides `batch`.
        learning_rate: AdamW's. Larger leaves π_ref sooner.
        kl_weight: β of the penalty β·KL(π‖π_ref); 0 means off.
        max_new_tokens: a response is cut off there.
        micro_batch: responses that pass through the model at once, which divide `batch`: fewer need less memory. None
            takes all of them, and half where memory runs out.
        save_every: steps between checkpoints in the run's folder, which keeps the last until the run is done: an
            interrupted one goes on from there. Each takes the room of model and optimiser; 0 means none.
        options: further options of `trl.GRPOConfig`, such as `{"use_vllm": True}`.
    """

    steps: int = 200
    batch: int = 64
    group: int = 8
    learning_rate: float = 1e-6
    kl_weight: float = 0.02
    max_new_tokens: int = 256
    micro_batch: int | None = None
    save_every: int = 50
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        micro = self.batch if self.micro_batch is None else self.micro_batch
        if min(self.steps, self.max_new_tokens, micro) < 1 or self.group < 2 or self.save_every < 0:
            raise OptionError(
                "expected steps, max_new_tokens and micro_batch >= 1 and group >= 2, and save_every >= 0, got "
                f"{self.steps}, {self.max_new_tokens}, {micro}, {self.group} and {self.save_every}; raise them"
            )
        if self.batch % self.group or self.batch % micro or not self.batch:
            raise OptionError(
                f"batch must be a multiple of group and of micro_batch, got {self.batch}, {self.group} and {micro}"
            )
        if not (self.learning_rate > 0 and self.kl_weight >= 0):
            raise OptionError(
                f"expected learning_rate > 0 and kl_weight >= 0, got {self.learning_rate} and {self.kl_weight}"
            )
        if taken := sorted(self.options.keys() & {*self._own(), "output_dir", "seed", "reward_weights"}):
            raise OptionError(f"{', '.join(taken)} cannot be set by options: fields of GRPO, or the record, say it")

    def train(
        self,
        model: str | Path,
        prompts: Sequence[Prompt],
        *,
        reward: RewardFunction,
        seed: int,
        gold: Gold | None = None,
        folder: str | Path | None = None,
        on_step: Callable[[Step], None] | None = None,
        stop_on_alarm: bool = False,
    ) -> Trajectory:
        """Train and return every step's record; what is recorded is the policy before the step's update.

        A run that was interrupted goes on from its last checkpoint when it is asked for again with the same folder, as
        if nothing had happened: steps after the checkpoint are done once more, with the same result.

        A step's KL and entropy are means over its responses of sums over their tokens, each of which is exact: in nats
        a response. Of the world's gold, the mean uses of each attribute are recorded too. Gold is NaN where it is not
        known, and so is any number of a step in which nothing could be scored. Every response is in the means, a few
        of them in the sample.

        Args:
            model: the folder of a causal language model with its tokenizer, or its id on the hub: π_ref, and where
                training starts.
            prompts: all texts, or all lists of messages (see `embrm.data.prompts.read_prompts`); each counts once.
                With a chat template a text is what a user says, as for `CausalLMPolicy`.
            reward: what is maximised.
            seed: determines order and sampling, and so the run on one machine.
            gold: `(prompts, texts) -> (n,)`, such as `RewardModelGold`, for the record alone; it gets prompts as they
                are, text or messages.
            folder: gets each step as soon as it is done, checkpoints, and at the end the trained model in `policy`.
            on_step: called after each step.
            stop_on_alarm: end the run after the step at which the reward's alarm fired.

        Raises:
            DataError: the folder holds a run that is done, or an interrupted one that was asked otherwise; the prompts
                are too few, or messages without a chat template.
            OptionError: there is no such model, or TRL refuses an option.
            RunStoppedError: memory ran out, and not in a first step that half of the micro-batch could do.

        Warns:
            MemoryWarning: memory ran out in the first step, and a smaller micro-batch is used.
        """
        if gold is not None and reward.__name__ == "gold":
            raise OptionError("the logs call the gold reward 'gold'; give the reward another name: name=\"proxy\"")
        if stop_on_alarm and reward.alarm is None:
            raise OptionError("there is no alarm to stop on; give the reward one with watched_by")
        place = Checkpoint(str(model))
        tokenizer = place.tokenizer()
        tokenizer.padding_side = tokenizer.truncation_side = "left"
        if not (tokenizer.chat_template or all(isinstance(prompt, str) for prompt in prompts)):
            raise DataError(f"prompts are lists of messages, but '{model}' has no chat template; give plain text")
        if tokenizer.eos_token_id is None:
            raise DataError(f"the tokenizer of '{model}' has no end-of-text token, so its responses would never end")
        check_same_form(prompts)
        if tokenizer.chat_template:
            prompts = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
        watching = None if gold is None else GoldFunction(gold)
        # Of several processes, to which launchers give ranks, the first writes.
        kept = Path(folder) if folder is not None and os.environ.get("RANK", "0") == "0" else None
        asked = self._asked(str(model), prompts, reward, seed=seed)
        if kept is not None:
            run = begin(kept, asked)
        else:
            run = Begun(Trajectory(), [], None if folder is None else latest(Path(folder)))
        recorder = Recorder(run, reward, watching, on_step, stop_on_alarm)
        recipe: GRPO | None = self
        with _generators_kept(), quiet():
            while recipe is not None:
                recorder.recall()
                recipe = recipe._run(place, prompts, tokenizer=tokenizer, recorder=recorder, folder=folder, seed=seed)
        if kept is not None:
            shutil.rmtree(kept / FOLDER)
        return run.trajectory

    def _asked(self, model: str, prompts: Sequence[Prompt], reward: RewardFunction, *, seed: int) -> dict[str, Any]:
        """Return what determines a run; of the reward what it says of one text, to three digits."""
        first = [prompt_text(prompt, "the first prompt") for prompt in prompts[:1]] or [""]
        said = reward.score(first, ["Hm."], seed=0)
        digits = [f"{float(value[0]):.3g}" for value in (said.value, said.uncertainty)]
        own = {name: value for name, value in asdict(self).items() if name not in ("micro_batch", "save_every")}
        more = {"model": model, "prompts": fingerprint(list(prompts)), "reward": digits, "seed": seed}
        return dict(json.loads(json.dumps(own | more, default=str)))

    def _run(
        self,
        place: Checkpoint,
        prompts: Sequence[Prompt],
        *,
        tokenizer: Any,
        recorder: Recorder,
        folder: str | Path | None,
        seed: int,
    ) -> GRPO | None:
        """Train, and return None, or the recipe to start again with where memory ran out in the first step."""
        functions = [recorder.reward] if recorder.gold is None else [recorder.reward, recorder.gold]
        with tempfile.TemporaryDirectory() as scratch:
            kept = scratch if folder is None else str(Path(folder) / FOLDER)
            config = self.config(kept, seed=seed, weights=[1.0, 0.0][: len(functions)], save=folder is not None)
            data = prompts_of(prompts, least=self.batch * config.world_size // self.group)
            trainer = trainer_of(place, functions, config, data, tokenizer, recorder)
            checkpoint = recorder.run.checkpoint
            trainer.passes = 0 if checkpoint is None else passes_before(checkpoint)
            try:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            except torch.OutOfMemoryError as error:
                if config.world_size > 1:  # the other processes would wait for this one
                    raise
                told = str(error)
            else:
                if folder is not None:
                    trainer.save_model(str(Path(folder) / "policy"))
                    (Path(folder) / "policy" / "training_args.bin").unlink(missing_ok=True)  # a pickle, of no use
                return None
        return self._halved(recorder.run.trajectory, told)

    def _halved(self, trajectory: Trajectory, told: str) -> GRPO:
        micro = self.micro_batch or self.batch
        if len(trajectory) or micro == 1:
            raise _stopped(trajectory, micro, told)
        smaller = max(size for size in range(1, micro // 2 + 1) if self.batch % size == 0)
        message = f"memory ran out with micro_batch={micro}; the run starts again with {smaller}"
        warnings.warn(message, MemoryWarning, stacklevel=4)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return replace(self, micro_batch=smaller)

    def _own(self) -> dict[str, Any]:
        """Return the options of TRL that the fields stand for, or that the record depends on."""
        micro = self.batch if self.micro_batch is None else self.micro_batch
        return {
            "max_steps": self.steps,
            "gradient_accumulation_steps": self.batch // micro,
            "per_device_train_batch_size": micro,
            "num_generations": self.group,
            "learning_rate": self.learning_rate,
            # Only with a weight above 0 does TRL keep π_ref and measure the KL; this one moves nothing.
            "beta": self.kl_weight or 1e-12,
            "max_completion_length": self.max_new_tokens,
            "logging_strategy": "steps",
            "logging_steps": 1,
            "disable_tqdm": True,
        }

    def config(self, folder: str, *, seed: int, weights: Sequence[float] = (1.0,), save: bool = False) -> GRPOConfig:
        """Return what TRL is told.

        Args:
            folder: for TRL's own files.
            seed: see `train`.
            weights: of the reward functions: 1 for the reward, 0 for a gold that is only watched.
            save: whether to write checkpoints there.

        Raises:
            OptionError: there is no such option (the nearest is suggested), or TRL refuses its value.
        """
        usual = {
            "bf16": in_bfloat16("auto", device="auto"),
            "dataloader_pin_memory": False,  # prompts are text
            "gradient_checkpointing": devices("auto") != ["cpu"],  # memory for time
            "report_to": [],
            "save_strategy": "steps" if save and self.save_every else "no",
            "save_steps": self.save_every or 1,
            "save_total_limit": 1,
        }
        given = {
            **usual,
            **self.options,
            **self._own(),
            "output_dir": folder,
            "seed": seed,
            "reward_weights": list(weights),
        }
        for name in self.options:
            if name not in (known := [f.name for f in fields(GRPOConfig)]):
                raise OptionError(f"trl.GRPOConfig has no option '{name}'. {suggestion(name, known)}")
        try:
            return GRPOConfig(**given)
        except (TypeError, ValueError) as error:
            raise OptionError(f"trl.GRPOConfig refuses an option: {error}; correct it") from error


def _stopped(trajectory: Trajectory, micro: int, told: str) -> RunStoppedError:
    return RunStoppedError(
        f"memory ran out in step {len(trajectory)} with micro_batch={micro}; lower it, max_new_tokens or the batch, or "
        f"take a smaller model ({told.splitlines()[0]})",
        trajectory,
    )


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global random generators, which transformers seeds, as they were."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is kept, not used
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
