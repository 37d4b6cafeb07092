"""The options of the one training loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from embrm.core.views import CROSSED
from embrm.errors import OptionError
from embrm.heads.gradient.diversity import Diversity, Seeds
from embrm.heads.gradient.losses import BradleyTerry, Loss, Weighting
from embrm.heads.gradient.pools import Pessimism

JOINT = "joint"  # the view that is read where nothing else is said


@dataclass(frozen=True, kw_only=True)
class Training:
    """How networks are trained; every option goes with every other, where nothing else is said.

    Where an option comes in kinds, the name of a kind (`loss="rdpo"`) stands for its defaults.

    Attributes:
        by_steps: whether the loss may be "step": the reward is then a logit, which heads with read-outs of their own
            have no use for.
        view: which view of the features is read, or which ones side by side; see `Head`.
        members: how many reward models to train; each has its own initialisation, order and noise.
        diversity: what members differ in beside that: "seed" nothing, "bootstrap" the pairs, `Rank` is a bonus for
            differing.
        epochs: the most passes over the pairs.
        batch_size: pairs a step.
        learning_rate: peak step size of AdamW, annealed to zero over the epochs along a cosine.
        weight_decay: AdamW's decoupled shrinkage of the weights (biases are left alone).
        patience: epochs without a better validation loss before a member stops; the best epoch is kept. 0 trains all
            epochs and keeps the last.
        validation_fraction: share of the pairs, by prompt, held out for early stopping where no validation is given.
        loss: what a pair costs: "bt" is Bradley–Terry, "classify" tells winners from losers one by one, and there are
            "smoothed", "rdpo", "symmetric", "unhinged" and "margin"; "step" learns from labelled steps
            (`StepTraces.pairs`), not from preferences. Each is a class of `embrm.heads.gradient.losses`.
        centre: weight of (r_w + r_l)², which fixes the free offset of a preference likelihood.
        reweight: None weighs pairs as they come, `Instance` lifts the hard ones of a batch.
        augment: "rrm" adds pairs in which chosen and rejected of a prompt both beat the response to another prompt
            (Liu et al. 2409.13156), so that the reward must read the prompt; it reads the view "crossed".
        pessimism: None, or `PoolPessimism`: a price on what the reward would pick on the problem's pools.
    """

    by_steps: ClassVar[bool] = False
    view: str = JOINT
    members: int = 1
    diversity: Diversity = field(default_factory=Seeds)
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    patience: int = 3
    validation_fraction: float = 0.15
    loss: Loss = field(default_factory=BradleyTerry)
    centre: float = 0.01
    reweight: Weighting | None = None
    augment: Literal["none", "rrm"] = "none"
    pessimism: Pessimism | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "diversity", Diversity.of(self.diversity))
        object.__setattr__(self, "loss", Loss.of(self.loss))
        if self.loss.fixes_offset and not self.by_steps:
            raise OptionError("loss 'step' is for linear, mlp and inform; this head learns from preferences alone")
        if self.loss.fixes_offset and self.augment == "rrm":
            raise OptionError("augment 'rrm' adds preferences, and loss 'step' learns from steps; leave one out")
        if self.reweight is not None:
            object.__setattr__(self, "reweight", Weighting.of(self.reweight))
        if self.pessimism is not None:
            object.__setattr__(self, "pessimism", Pessimism.of(self.pessimism))
        for name in ("members", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "patience", "centre"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 0 < self.validation_fraction < 1:
            raise OptionError(f"validation_fraction must be inside (0, 1), got {self.validation_fraction}")
        if self.augment not in ("none", "rrm"):
            raise OptionError(f"augment must be one of none, rrm, got '{self.augment}'")
        if self.augment == "rrm":
            if self.view not in (JOINT, CROSSED):
                raise OptionError(f"augment 'rrm' reads the view 'crossed', got view '{self.view}'; leave it out")
            object.__setattr__(self, "view", CROSSED)
