"""Gold rewards of a reward model from transformers: any sequence-classification model scores (prompt, response)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import logsumexp

from embrm.core.arrays import Array, IntArray
from embrm.core.files import fingerprint
from embrm.core.recipe import build
from embrm.data.encode import TruncationWarning
from embrm.errors import DataError, OptionError
from embrm.lm.batching import Fitting, by_length, spread
from embrm.lm.checkpoint import (
    Checkpoint,
    Conversation,
    Device,
    Precision,
    Prompt,
    call,
    devices,
    in_bfloat16,
)
from embrm.world.judge import NAME as WORLD
from embrm.world.judge import WorldGold


@dataclass(frozen=True)
class RewardModelGold:
    """The reward of a sequence-classification model, as gold: `gold(prompts, responses)` gives `(n,)`.

    Prompt and response go through the model's chat template; without one they are joined by an empty line. Wherever
    embrm takes a gold, it takes any callable `(prompts, responses) -> (n,)`: a judge behind an HTTP endpoint is a
    function of a few lines, and is left to the user.

    Attributes:
        model: the path of a folder, or an id on the Hugging Face hub.
        revision: branch, tag or commit on the hub.
        label: for a model with several logits, which of them is good: the reward is then its log-odds against all
            others (with two logits their difference). A model with one logit needs none.
        precision: "auto" is bfloat16 on GPUs that have it, else float32.
        device: "cuda" and "auto" take all visible GPUs.
        batch_size: texts computed at once on a device.
    """

    model: str
    revision: str | None = None
    label: int | None = None
    precision: Precision = "auto"
    device: Device = "auto"
    batch_size: int = 16

    def __post_init__(self) -> None:
        Checkpoint(self.model, self.revision)
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {self.batch_size}")

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Array:
        """Score `n` responses, as `(n,)` float64.

        Warns:
            TruncationWarning: texts were longer than the model reads, and their ends were not seen.
            MemoryWarning: memory ran out, and smaller batches were used.

        Raises:
            DataError: there are not as many prompts as responses, or a prompt is a list of messages and the model has
                no chat template.
            OptionError: the model cannot be loaded, has several logits and no `label`, or no such label; or a single
                text does not fit into memory.
        """
        if len(prompts) != len(responses):
            raise DataError(f"gold needs one prompt a response, got {len(prompts)} prompts, {len(responses)} responses")
        self.check()
        checkpoint = Checkpoint(self.model, self.revision)
        bfloat16 = in_bfloat16(self.precision, device=self.device)
        replicas = _replicas(checkpoint, checkpoint.stamps(), tuple(devices(self.device)), bfloat16)
        conversation, limit = replicas[0].conversation, replicas[0].limit
        every = conversation.tokens([conversation.text(p, r) for p, r in zip(prompts, responses, strict=True)])
        cut = sum(len(tokens) > limit for tokens in every)
        if cut:
            warnings.warn(
                f"{cut} of {len(every)} texts are longer than the gold model reads; their ends were not seen",
                TruncationWarning,
                stacklevel=2,
            )
        rows = [tokens[:limit] for tokens in every]
        batches = by_length([len(row) for row in rows], size=self.batch_size)
        out = np.empty(len(rows))
        for batch, logits in spread(lambda r, batch: r.logits([rows[i] for i in batch]), batches, workers=replicas):
            out[batch] = self._reward(logits)
        return out

    @property
    def identity(self) -> str:
        """What the gold depends on."""
        options = [self.model, self.revision, self.label, in_bfloat16(self.precision, device=self.device)]
        return fingerprint([options, Checkpoint(self.model, self.revision).stamps()])

    def check(self) -> None:
        """Make sure, before any work, that the model can be found and that `label` suits it; else raise OptionError."""
        config = Checkpoint(self.model, self.revision).config()
        if config.architectures and not any("SequenceClassification" in name for name in config.architectures):
            raise OptionError(
                f"model '{self.model}' is a {config.architectures[0]}, and a gold needs a trained "
                "sequence-classification model; give a reward model"
            )
        names = dict(config.id2label)
        if len(names) == 1 and self.label is not None:
            raise OptionError(
                f"model '{self.model}' has a single logit, so label={self.label} chooses none; leave it out"
            )
        if len(names) > 1 and self.label not in names:
            raise OptionError(
                f"model '{self.model}' has {len(names)} logits ({', '.join(f'{k}: {v}' for k, v in names.items())}), "
                f"got label={self.label}; give the label of the good one, whose log-odds are then the reward"
            )

    def _reward(self, logits: Array) -> Array:
        if self.label is None:
            return logits[:, 0]
        return np.asarray(logits[:, self.label] - logsumexp(np.delete(logits, self.label, axis=1), axis=1))


class _Replica:
    """One copy of the model on a device."""

    def __init__(self, checkpoint: Checkpoint, *, device: str, bfloat16: bool) -> None:
        self.net = checkpoint.network("AutoModelForSequenceClassification", device=device, bfloat16=bfloat16)
        self.conversation = Conversation(checkpoint.tokenizer())
        self.limit = self.conversation.limit(self.net)
        self._device = device
        self._fitting = Fitting(device)
        pad = self.conversation.tokenizer.pad_token_id
        # The model reads its score at the last token that is not the pad token. Without one, whatever fills up could be
        # the end of a text, so texts are put to the right end, and no token counts as pad.
        self._left = self.conversation.left or pad is None
        self.net.config.get_text_config().pad_token_id = -1 if pad is None else pad

    def logits(self, rows: Sequence[IntArray]) -> Array:
        """Return `(n, labels)` float64."""
        return np.stack(self._fitting.run(self._forward, rows, lengths=[len(row) for row in rows]))

    def _forward(self, rows: list[IntArray]) -> list[Array]:
        inputs = self.conversation.batch(rows, left=self._left, device=self._device)
        return list(call(self.net, inputs).logits.double().cpu().numpy())


@lru_cache(maxsize=1)
def _replicas(checkpoint: Checkpoint, stamps: object, places: tuple[str, ...], bfloat16: bool) -> list[_Replica]:
    return [_Replica(checkpoint, device=place, bfloat16=bfloat16) for place in places]


def gold_of(options: Mapping[str, Any], *, what: str) -> RewardModelGold | WorldGold:
    """Return the gold that options name: the world's for the model "world", else a reward model.

    Args:
        options: fields of `RewardModelGold`.
        what: the place that messages name.

    Raises:
        OptionError: an option does not exist or cannot be; the world's gold has none.
    """
    if options.get("model") != WORLD:
        return build(RewardModelGold, options, what=what)
    if others := options.keys() - {"model"}:
        raise OptionError(f"{what}: the world's gold has no {', '.join(sorted(others))}; leave it out")
    return WorldGold()
