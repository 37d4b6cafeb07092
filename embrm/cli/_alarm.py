"""The options of an alarm along a run, which several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options

if TYPE_CHECKING:
    from embrm.monitoring.rule import AlarmRule, RuleName

RULES = ["auto", "p_value", "ratio", "cusum", "threshold"]


@dataclass(frozen=True)
class AlarmOptions:
    """An alarm along a run, as typed; what was not is None."""

    onset: RuleName | None = None
    window: int | None = None
    limit: float | None = None
    level: float | None = None

    @property
    def typed(self) -> list[str]:
        """Names of the options that were typed."""
        return [f"--{name}" for name, value in vars(self).items() if value is not None]

    def rule(self) -> AlarmRule:
        """Return the rule; what was not typed is as usual.

        Raises:
            OptionError: see `AlarmRule`.
        """
        from embrm.monitoring.rule import AlarmRule

        given = {"rule": self.onset, "window": self.window, "limit": self.limit, "level": self.level}
        return AlarmRule(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def alarm_rule(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of an alarm, given to the command as one `alarm`."""

    @functools.wraps(function)
    def wrapped(
        *, onset: RuleName | None, window: int | None, limit: float | None, level: float | None, **others: Any
    ) -> Any:
        return function(alarm=AlarmOptions(onset, window, limit, level), **others)

    for option in (
        click.option(
            "--limit", type=_options.Number(), help="Along a run: --onset threshold fires above this statistic."
        ),
        click.option(
            "--onset", type=click.Choice(RULES), help="Along a run: the rule that raises the alarm; auto unless given."
        ),
        click.option("--window", type=_options.whole(), help="Along a run: steps checked together; 5 unless given."),
        click.option(
            "--level",
            type=_options.Number(),
            help="Chance of an alarm, all p-valued detectors together; 0.01 unless given.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped
