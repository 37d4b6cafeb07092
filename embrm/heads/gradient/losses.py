"""Losses of preference pairs, for every gradient head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.network import Batch, Network, Params

LOSSES = ("bt", "classify", "smoothed", "rdpo", "symmetric", "unhinged", "margin")
NEED_FLIP_RATE = ("smoothed", "rdpo")


def preference_loss(head: Network, reward: Tensor, batch: Batch) -> Tensor:
    """Return the loss of each pair `(R, B)` from the rewards `(R, 2B)` of the chosen, then the rejected texts.

    With z = r_w − r_l − the pair's margin, t the target and ε the flip rate:

    - "bt" −t log σ(z) − (1 − t) log σ(−z);
    - "classify" the binary cross entropy of each text alone (Sun et al. 2411.04991), which knows no margin;
    - "smoothed" Bradley–Terry with the target pulled to 1 − ε (label smoothing);
    - "rdpo" [−(1 − ε) log σ(z) + ε log σ(−z)] / (1 − 2ε), unbiased under flips of rate ε (Chowdhury et al.
      2403.00409), z clipped, because the loss has no lower bound;
    - "symmetric" σ(−z), whose sum over both labels is constant (Ghosh et al. 1712.09482);
    - "unhinged" 1 − z with clipped rewards (van Rooyen et al. 1505.07634);
    - "margin" −log σ(z − m) with one more margin m for all pairs.

    On simulated pairs (an mlp, 2 000 pairs × 32, ε known, 5 seeds), correlation with the reward on unseen prompts and
    NLL of clean labels: under 40 % symmetric flips bt .51 and .65, rdpo .56 and .62, symmetric .56 and .62; under flips
    at 45 % or 5 % by a feature bt .86 and .56, rdpo .85 and .52, symmetric .84 and .52. So the robust losses are better
    calibrated, and order better under symmetric flips alone; "smoothed" is worse in both (.30 and .68; .83 and .61).
    """
    chosen, rejected = reward.chunk(2, dim=-1)
    if head.loss == "classify":
        binary, target = functional.binary_cross_entropy_with_logits, batch.target.expand_as(chosen)
        return binary(chosen, target, reduction="none") + binary(rejected, 1 - target, reduction="none")
    if head.loss == "unhinged":
        chosen, rejected = (r.clamp(-head.clip, head.clip) for r in (chosen, rejected))
    z, target = chosen - rejected - batch.margin, batch.target
    match head.loss:
        case "smoothed":
            target = target + (1 - 2 * target) * batch.flip
        case "rdpo":
            z = z.clamp(-head.clip, head.clip)
            target = (target - batch.flip) / (1 - 2 * batch.flip)
        case "symmetric":
            return target + (1 - 2 * target) * torch.sigmoid(z)
        case "unhinged":
            return 1 + (1 - 2 * target) * z
        case "margin":
            z = z - head.extra_margin * (2 * target - 1)  # a tie has none
    return functional.softplus(z) - target * z


def objective(head: Network, params: Params, latent: Latent, z: Tensor, batch: Batch) -> Tensor:
    """Return the training loss `(R,)` of a batch without the KL of its latents."""
    reward = shared_reward(head, head.decode(params, z))
    per_pair = head.preference(params, z, reward, batch)
    weight = batch.weight
    if head.reweight == "instance":
        # KL-penalised distributionally robust optimisation: the worst distribution over the batch's pairs.
        weight = weight * torch.softmax(per_pair.detach() / head.temperature, dim=1) * per_pair.shape[1]
    total = (weight * per_pair).mean(dim=1)
    if head.centre:
        chosen, rejected = reward.chunk(2, dim=-1)
        total = total + head.centre * (chosen + rejected).square().mean(dim=1)
    if head.rank_bonus:
        total = total - head.rank_bonus * relative_rank(params["input.weight"], head.members) / head.members
    extra = head.extra_loss(params, latent, z, batch)
    return total if extra is None else total + extra


def shared_reward(head: Network, reward: Tensor) -> Tensor:
    """Return the members' mean reward where `rank_bonus` puts the likelihood on it, else the rewards themselves."""
    if not head.rank_bonus:
        return reward
    mean = reward.view(-1, head.members, reward.shape[-1]).mean(dim=1)
    return mean.repeat_interleave(head.members, dim=0)


def relative_rank(weight: Tensor, members: int) -> Tensor:
    """Return ‖A‖_*/‖A‖_F `(R,)`, A the stacked first layers `(d, members · h)` of the members of each problem."""
    _, width, hidden = weight.shape
    stacked = weight.view(-1, members, width, hidden).movedim(1, 2).reshape(-1, width, members * hidden)
    ratio: Tensor = torch.linalg.matrix_norm(stacked, "nuc") / torch.linalg.matrix_norm(stacked)
    return ratio.repeat_interleave(members, dim=0)
