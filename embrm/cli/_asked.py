"""What a language model is asked, and what judges it: files and models, or the world's for the world's own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embrm.errors import OptionError

if TYPE_CHECKING:
    from embrm.data.faults import RowRules
    from embrm.integrations.reward_model import RewardModelGold
    from embrm.lm.checkpoint import Prompt
    from embrm.world.judge import WorldGold

WORLD = "world"


def prompts_or_world(file: str | None, *, lm: str, rules: RowRules) -> tuple[Sequence[str], Sequence[Prompt]]:
    """Return the ids and prompts of a file; without one, all questions of the world for its own language model.

    Raises:
        OptionError: there is no file, and the language model is another.
    """
    from embrm.data.prompts import read_prompts
    from embrm.world import World
    from embrm.world.judge import world_prompts

    if file is not None:
        return read_prompts(file, rules=rules)
    if lm != WORLD:
        raise OptionError(f"give a file of prompts; only --lm {WORLD} has prompts of its own")
    return world_prompts(World.load())


def gold_or_world(
    gold: str | None, label: int | None, *, lm: str, asked: str | None, more: Mapping[str, Any]
) -> RewardModelGold | WorldGold | None:
    """Return the gold that was named, checked; where none was, the world's if its own model answers its questions.

    Raises:
        OptionError: the gold cannot be used, or a label is given for what has none.
    """
    from embrm.integrations.reward_model import gold_of

    if gold is None and lm == WORLD and asked is None:
        gold = WORLD
    if gold in (None, WORLD) and label is not None:
        raise OptionError("--gold-label chooses a logit of the gold's model; give --gold too")
    if gold is None:
        return None
    options = {"model": gold} if gold == WORLD else {"model": gold, "label": label, **more}
    found = gold_of(options, what="--gold")
    found.check()
    return found
