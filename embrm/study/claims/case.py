"""Where a claim is examined: under which mechanism, at which noise, in which channel, and for which defence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

NOISY, CLEAN = 0.25, 0.0  # flips
FAIR, BIASED = "fair", "biased"  # titles of mechanisms
Channel: TypeAlias = Literal["", "path", "bon"]  # a channel is also the family of the metrics that are read of it
CHANNELS: tuple[Channel, ...] = ("path", "bon")
CHANNEL_NAMES = {"": "", "path": "path", "bon": "best of n"}
# Under every mechanism; under those that something is wrong with; under the first of these; among fair annotators; or
# of a data set as a whole.
Under: TypeAlias = Literal["every", "hacks", "one", "fair", "none"]


@dataclass(frozen=True)
class Case:
    """One setting in which a claim is examined, and gets a verdict of its own.

    >>> Case("fair", NOISY).title, Case("fair", CLEAN).title, Case("biased", NOISY).title
    ('noisy', 'fair', 'biased')

    Attributes:
        mechanism: title of the mechanism by which the training pairs came; "" where the claim is of none.
        flips: label noise, the share of the training labels that are flipped.
        channel: how a policy is optimised against the reward: "path" (the exact optima of reward minus β·KL), "bon"
            (the best of n), or "" where the claim is not about that.
        defence: which one of those that the claim compares with the standard head; "" where it names none.
    """

    mechanism: str = BIASED
    flips: float = NOISY
    channel: Channel = ""
    defence: str = ""

    @property
    def title(self) -> str:
        """What is wrong with the training pairs: with fair annotators nothing but the noise, where there is any."""
        return "noisy" if self.mechanism == FAIR and self.flips > CLEAN else self.mechanism
