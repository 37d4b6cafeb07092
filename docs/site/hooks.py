"""Pages that are made of the code when the site is built: the commands, the Python reference and the lecture.

They lie in no folder, so none of them can be older than what it tells of.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from embrm.cli import embrm as program

ROOT = Path(__file__).resolve().parents[2]
LECTURE = ROOT / "examples" / "04_lecture.py"
# A package's page has the names that it offers; one that offers none has its public modules.
PACKAGES = (
    *("embrm", "embrm.heads", "embrm.selectors", "embrm.detectors", "embrm.embedders", "embrm.bestofn", "embrm.data"),
    *("embrm.metrics", "embrm.monitoring", "embrm.evaluation", "embrm.training", "embrm.policies", "embrm.world"),
    *("embrm.integrations", "embrm.study.datasets", "embrm.study.claims", "embrm.errors"),
)
FAMILIES = ("embrm.heads", "embrm.selectors", "embrm.detectors", "embrm.embedders")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Enter the pages of the reference into the navigation."""
    for part in config.nav or []:
        if isinstance(part, dict) and "Reference" in part:
            part["Reference"] = ["commands.md", *({name: page(name)} for name in PACKAGES)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made of the code to what lies in docs/."""
    made = {page(name): reference(name) for name in PACKAGES}
    made |= {"commands.md": commands(), "lecture.md": lecture(LECTURE.read_text(encoding="utf-8"))}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def page(package: str) -> str:
    """Return where a package's page lies."""
    return f"reference/{package}.md"


def reference(package: str) -> str:
    """Return the page of a package: what it offers, then its members or modules."""
    module = importlib.import_module(package)
    offered = getattr(module, "__all__", None)
    text = [f"# {package}", ""]
    if offered is not None or not hasattr(module, "__path__"):
        text += [f"::: {package}", "    options: {show_root_heading: false, show_root_toc_entry: false}", ""]
    else:
        text += [module.__doc__ or "", ""]
    if package in FAMILIES:
        found = [f"{package}.{name}" for name in module.names()]
    elif offered is None and hasattr(module, "__path__"):
        found = [f"{package}.{file.stem}" for file in sorted(Path(module.__path__[0]).glob("[a-z]*.py"))]
    else:
        found = []
    for name in found:
        text += [f"::: {name}", ""]
    return "\n".join(text)


def commands() -> str:
    """Return the page of all commands, as `--help` tells of them."""
    text = ["# Commands", "", "Made from the commands themselves; `embrm COMMAND --help` prints the same.", ""]
    for path, command in every(program, "embrm"):
        text += described(path, command)
    return "\n".join(text)


def every(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands below a group, and those below them."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from every(command, f"{path} {name}")


def described(path: str, command: click.Command) -> list[str]:
    """Return a command's section: what it does, its usage, examples and options."""
    context = click.Context(command, info_name=path)
    told, _, examples = (command.help or "").replace("\b\n", "").partition("Example")
    lines = [line.strip() for line in examples.partition("\n")[2].splitlines() if line.strip()]
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    text = [f"## {path}", "", *(line.strip() for line in told.strip().splitlines()), "", f"`{usage}`", ""]
    shown = [line for line in lines if line.startswith("embrm")]
    if shown:
        text += ["```sh", *shown, "```", ""]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [f"| `{cell(name)}` | {cell(help_)} |" for name, help_ in filter(None, records)]
    return [*text, "| option | |", "|---|---|", *rows, ""]


def cell(text: str) -> str:
    """Return a text as a table takes it."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").replace("  ", " ").strip()


def lecture(source: str) -> str:
    """Return the page of a lecture in cells: prose as it is, code as code."""
    body = source.partition("# ---\n\n")[2] or source
    text = []
    for kind, cell_ in re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", body, flags=re.MULTILINE | re.DOTALL):
        if kind:
            text += [re.sub(r"^# ?", "", cell_, flags=re.MULTILINE).strip(), ""]
        else:
            text += ["```python", cell_.strip(), "```", ""]
    return "\n".join(text)
