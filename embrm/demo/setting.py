"""What a visitor of the page may choose, read from what a browser sent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embrm.errors import DataError
from embrm.world.mechanism import Mechanism

LONGEST = 20_000  # characters of a response, and of a prompt
# Annotators by the name that the page shows: what is wrong with their preferences.
MECHANISMS: Mapping[str, Mechanism] = {
    "fair": Mechanism(),
    "biased": Mechanism(bias=1.0),
    "confounded": Mechanism(confounding=2.0),
    "narrow": Mechanism(unseen=("flattery",)),
}


@dataclass(frozen=True)
class FitSetting:
    """How the training pairs came to be.

    Attributes:
        mechanism: a name of `MECHANISMS`.
        flips: label noise, the share of labels that are flipped.
        pairs: how many.
    """

    mechanism: str = "biased"
    flips: float = 0.0
    pairs: int = 600


@dataclass(frozen=True)
class Seat:
    """A head of a setting with the rule that values its rewards.

    Attributes:
        head: its name on the page.
        rule: the name of a rule.
    """

    head: str
    rule: str = "mean"


def setting_of(body: Mapping[str, Any], *, usual: FitSetting, most: int) -> FitSetting:
    """Read a setting.

    Args:
        body: a request.
        usual: what is taken where the request says nothing.
        most: pairs that there can be.

    Raises:
        DataError: a value is none that the page offers.
    """
    given = body.get("setting", {})
    if not isinstance(given, dict) or not set(given) <= {"mechanism", "flips", "pairs"}:
        raise DataError("setting must have mechanism, flips and pairs, and nothing else")
    made = FitSetting(**{**vars(usual), **given})
    if made.mechanism not in MECHANISMS:
        raise DataError(f"no annotators called {ascii(made.mechanism)[:40]}. There are: {', '.join(MECHANISMS)}.")
    if not _number(made.flips) or not 0 <= made.flips <= 0.5:
        raise DataError("flips must be a number inside [0, 0.5]")
    if isinstance(made.pairs, bool) or not isinstance(made.pairs, int) or not 50 <= made.pairs <= most:
        raise DataError(f"pairs must be a whole number from 50 to {most}")
    return made


def seats_of(body: Mapping[str, Any]) -> list[Seat]:
    """Read one to three heads with their rules.

    Raises:
        DataError: there are none or more, or one is no such thing.
    """
    given = body.get("seats")
    if not isinstance(given, list) or not 1 <= len(given) <= 3:
        raise DataError("seats must be a list of one to three heads")
    for seat in given:
        if not isinstance(seat, dict) or not all(isinstance(seat.get(k, "mean"), str) for k in ("head", "rule")):
            raise DataError('a seat must be such as {"head": "mlp", "rule": "mean"}')
    return [Seat(str(seat.get("head")), seat.get("rule", "mean")) for seat in given]


def texts_of(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Read one to twenty prompts with their responses.

    Raises:
        DataError: there are none or more, or one is no text, or too long.
    """
    given = body.get("texts")
    if not isinstance(given, list) or not 1 <= len(given) <= 20:
        raise DataError("texts must be a list of one to twenty pairs of prompt and response")
    for pair in given:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise DataError("each of the texts must be a prompt and a response")
        if (longest := max(map(len, pair))) > LONGEST:
            raise DataError(f"a text has {longest} characters, and at most {LONGEST} are read; shorten it")
    return [(prompt, response) for prompt, response in given]


def pressure_of(body: Mapping[str, Any], most: float) -> float:
    """Read 1/β.

    Raises:
        DataError: it is no number from 0 (π_ref) to the end of the path.
    """
    value = body.get("inverse_beta")
    if value is None or not _number(value) or not 0 <= value <= most * (1 + 1e-9):
        raise DataError(f"inverse_beta must be a number from 0 (the reference policy) to {most:.6g}, the path's end")
    return float(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
