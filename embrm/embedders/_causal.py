"""A causal language model in memory, on one device: tokens → vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.errors import OptionError
from embrm.lm.batching import Fitting
from embrm.lm.checkpoint import Checkpoint, Conversation, call


class Replica:
    """One copy of the model.

    Args:
        checkpoint: where the model is.
        conversation: its tokenizer.
        device: where to compute.
        bfloat16: whether to compute in bfloat16 instead of float32.

    Raises:
        OptionError: there is no such model, or the hub cannot be reached.
    """

    def __init__(self, checkpoint: Checkpoint, conversation: Conversation, *, device: str, bfloat16: bool) -> None:
        self._net = checkpoint.network("AutoModel", device=device, bfloat16=bfloat16)
        self._conversation = conversation
        self._device = device
        self._fitting = Fitting(device)
        self.limit = conversation.limit(self._net)
        self.layers = int(self._net.config.get_text_config().num_hidden_layers)

    def check_layer(self, layer: int) -> None:
        """Raise OptionError where the model has no such layer."""
        if not -self.layers - 1 <= layer <= self.layers:
            raise OptionError(f"layer {layer} is not there; layers are 0 (the tokens) to {self.layers}, or -1 the last")

    def encode(self, rows: Sequence[IntArray], *, layer: int, mean: bool) -> Array:
        """Return `(n, d)` float32: the hidden state of each row's last token, or the mean over its tokens.

        Warns:
            MemoryWarning: memory ran out, and smaller batches were used.

        Raises:
            OptionError: a single text does not fit into memory.
        """

        def work(part: list[IntArray]) -> list[Array]:
            return list(self._forward(part, layer=layer, mean=mean))

        return np.stack(self._fitting.run(work, rows, lengths=[len(row) for row in rows]))

    def _forward(self, rows: list[IntArray], *, layer: int, mean: bool) -> Array:
        inputs = self._conversation.batch(rows, left=self._conversation.left, device=self._device)
        last = layer in (-1, self.layers)
        out = call(self._net, inputs, output_hidden_states=not last)
        hidden = (out.last_hidden_state if last else out.hidden_states[layer]).float()
        pooled = _mean if mean else _last
        return np.asarray(pooled(hidden, inputs["attention_mask"]).cpu().numpy())


def _last(hidden: Any, mask: Any) -> Any:
    import torch

    at = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), at]


def _mean(hidden: Any, mask: Any) -> Any:
    return (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
