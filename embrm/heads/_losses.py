"""Losses of preference pairs, for every gradient head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def preference_loss(name: str, chosen: Tensor, rejected: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """Return the loss of each pair `(R, n)` from its two rewards; `target` is 1, or 0.5 for a tie.

    "bt" is −t log σ(z) − (1 − t) log σ(−z) with z = r_w − r_l − margin; "classify" is the binary cross entropy of each
    text alone (Sun et al. 2411.04991), which knows no margin.
    """
    if name == "classify":
        binary = functional.binary_cross_entropy_with_logits
        target = target.expand_as(chosen)
        return binary(chosen, target, reduction="none") + binary(rejected, 1 - target, reduction="none")
    z = chosen - rejected - margin
    return functional.softplus(z) - target * z
