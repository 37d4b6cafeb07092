"""The command line: every module of this package that has no underscore is a command, loaded when it is used.

A command's module offers `command`; the first line of that function's docstring describes it in `embrm --help`.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from embrm.cli._progress import add_quiet, bar
from embrm.core.names import suggestion
from embrm.core.progress import watching
from embrm.core.threads import one_thread
from embrm.core.version import __version__
from embrm.core.visible import escaped
from embrm.errors import EmbrmError, OptionError, UnknownNameError


class Commands(click.Group):
    """The commands, found by the names of their files and imported only when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted, without importing any."""
        return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if not f.stem.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        add_quiet(found)
        return _with_examples(found)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the arguments, and suggest the nearest where there is none."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            ctx.fail(f"no command named '{args[0]}'. {suggestion(args[0], names)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, its small work on one thread."""
        with one_thread:
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their descriptions, read from the source without running it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _description(name)) for name in self.list_commands(ctx)])


def _with_examples(command: click.Command) -> click.Command:
    """Keep the lines of "Example:" paragraphs in help texts as they are; click's mark for that is a backspace."""
    command.help = re.sub(r"^( *)(Examples?:)$", "\\1\b\n\\1\\2", command.help or "", flags=re.MULTILINE)
    for part in getattr(command, "commands", {}).values():
        _with_examples(part)
    return command


def _description(name: str) -> str:
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "command":
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="embrm")
def embrm() -> None:
    """Train robust reward models on frozen text embeddings, and see where they are hacked."""


def run(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0, 1 failure, 2 wrong usage, 3 an alarm, 130 Ctrl-C, 143 SIGTERM, 129 a terminal that was closed (SIGHUP).
    """
    from embrm.cli._signals import ending_in_order

    with ending_in_order() as came:
        code = _run(args)
    return 128 + came[0] if came else code


def _run(args: Sequence[str] | None) -> int:
    from embrm.cli._render import shown_warnings

    try:
        with shown_warnings(), watching(bar):
            return embrm.main(args, prog_name="embrm", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        with suppress(OSError):  # the terminal may be gone
            click.echo("interrupted", err=True)
        return 130
    except EmbrmError as error:
        click.echo(escaped(f"error: {error}"), err=True)
        return 2 if isinstance(error, OptionError | UnknownNameError) else 1
    except OSError as error:  # a full disk, a place without rights
        click.echo(escaped(f"error: {error}"), err=True)
        return 1


def main() -> None:
    """Entry point of the `embrm` script."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # how models' threads wait, read with torch
    sys.exit(run())
