"""TRL's GRPO trainer, which also measures the KL to π_ref over the whole vocabulary, and what it is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOTrainer  # type: ignore[attr-defined]  # it exports lazily

from embrm.core.documents import read_json
from embrm.errors import DataError, OptionError
from embrm.lm.checkpoint import Checkpoint, Prompt

KL = "embrm/kl"  # the log's name of it
AT_ONCE = 1 << 26  # probabilities in memory at once: a quarter of a GB


class MeasuringTrainer(GRPOTrainer):
    """Logs the KL in nats a response: the mean over responses of the sum of KL(π(·|s)‖π_ref(·|s)) over their tokens.

    TRL's own estimate looks at the drawn tokens alone; this one knows each token's KL exactly, and only the states s
    are drawn. It is measured before the step's update, and not at all where TRL keeps no copy of π_ref.
    """

    passes = 0  # over the prompts that an interrupted run had ended

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        for _ in range(self.passes):  # each draws an order, which TRL forgets
            next(iter(sampler))
        return sampler

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        done = super()._generate_and_score_completions(inputs)
        net: Any = self.model
        if net.training and self.ref_model is not None:
            found = self._kl(done)
            self._metrics["train"][KL].append(float(self.accelerator.gather(found).mean()))
        return done

    @torch.no_grad()
    def _kl(self, done: dict[str, Any]) -> torch.Tensor:
        """Return the KL of each response, `(n,)`."""
        ids = torch.cat([done["prompt_ids"], done["completion_ids"]], dim=1)
        mask = torch.cat([done["prompt_mask"], done["completion_mask"]], dim=1)
        length = done["completion_ids"].shape[1]
        net: Any = self.model
        size = max(1, AT_ONCE // (length * net.config.get_text_config().vocab_size))
        parts: list[torch.Tensor] = []
        batches: Any = zip(ids.split(size), mask.split(size), strict=True)
        for rows, kept in batches:
            own, other = (self._log_probabilities(one, rows, kept, length=length) for one in (net, self.ref_model))
            each: torch.Tensor = (own.exp() * (own - other)).sum(dim=-1)
            parts.append((each * kept[:, -length:]).sum(dim=1))
        return torch.cat(parts)

    def _log_probabilities(self, net: Any, ids: torch.Tensor, mask: torch.Tensor, *, length: int) -> torch.Tensor:
        logits = net(input_ids=ids, attention_mask=mask, logits_to_keep=length + 1, use_cache=False).logits
        return torch.log_softmax(logits[:, :-1].float() / self.temperature, dim=-1)


def check_same_form(prompts: Sequence[Prompt]) -> None:
    """Raise a DataError where some prompts are text and others messages."""
    if len({isinstance(prompt, str) for prompt in prompts}) > 1:
        raise DataError("prompts must all be text or all be lists of messages, got both; bring them into one form")


def prompts_of(prompts: Sequence[Prompt], *, least: int) -> Dataset:
    """Return each prompt once, as TRL takes them.

    Raises:
        DataError: there are fewer than `least`.
    """
    prompts = list({json.dumps(prompt): prompt for prompt in prompts}.values())
    if len(prompts) < least:
        raise DataError(
            f"a step draws responses to {least} different prompts, and there are {len(prompts)}; give more prompts, a "
            "smaller batch or larger groups"
        )
    return Dataset.from_list([{"prompt": prompt} for prompt in prompts])


def trainer_of(
    place: Checkpoint, functions: list[Any], config: Any, data: Dataset, tokenizer: Any, recorder: TrainerCallback
) -> MeasuringTrainer:
    """Return the trainer.

    Raises:
        OptionError: the model cannot be loaded, or TRL refuses an option.
    """
    try:
        trainer = MeasuringTrainer(
            model=str(place.folder or place.model),
            reward_funcs=functions,
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[recorder],
        )
    except OSError as error:
        raise place.unreachable(error) from error
    except ValueError as error:
        raise OptionError(f"trl.GRPOTrainer refuses an option: {error}") from error
    trainer.remove_callback(PrinterCallback)  # it would write to standard output
    return trainer


def passes_before(checkpoint: Path) -> int:
    """Return how many passes over the prompts had ended when TRL wrote the checkpoint."""
    return int(read_json(checkpoint / "trainer_state.json")["epoch"])
