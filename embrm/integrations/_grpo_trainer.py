"""TRL's GRPO trainer, which also measures the KL to π_ref over the whole vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer  # type: ignore[attr-defined]  # it exports lazily

KL = "embrm/kl"  # the log's name of it
AT_ONCE = 1 << 26  # probabilities in memory at once: a quarter of a GB


class MeasuringTrainer(GRPOTrainer):
    """Logs the KL in nats a response: the mean over responses of the sum of KL(π(·|s)‖π_ref(·|s)) over their tokens.

    TRL's own estimate looks at the drawn tokens alone; this one knows each token's KL exactly, and only the states s
    are drawn. It is measured before the step's update, and not at all where TRL keeps no copy of π_ref.
    """

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
