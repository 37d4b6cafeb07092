"""Options that several commands share, and recipes built from what was typed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from embrm.cli._progress import is_watched
from embrm.core.option_numbers import LARGEST, LARGEST_SEED, check_numbers
from embrm.core.recipe import make
from embrm.core.registry import Registry
from embrm.core.settings import read_settings, split_settings
from embrm.errors import OptionError

if TYPE_CHECKING:
    from embrm.data.faults import RowRules
    from embrm.embedders import Embedder
    from embrm.evaluation.penalty import Penalty
    from embrm.heads import FittedHead

T = TypeVar("T")

json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


class Number(click.FloatRange):
    """A finite number, perhaps in a range: `nan`, `inf` and numbers without digits are usage errors."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        found = super().convert(value, param, ctx)
        try:
            check_numbers(found, "it")
        except OptionError as error:
            self.fail(str(error), param, ctx)
        return found


def whole(least: int = 0) -> click.IntRange:
    """Return the type of a whole number from `least` on."""
    return click.IntRange(least, LARGEST)


SEED = click.IntRange(0, LARGEST_SEED)
seed = click.option("--seed", type=SEED, default=0, show_default=True, help="Determines everything random.")
no_seed = click.option(
    "--seed", type=SEED, expose_value=False, help="Accepted like everywhere; nothing is random in this command."
)
to_rows = click.option(
    "-o", "--output", metavar="PATH", default="-", help="The file for the JSON Lines; - is standard output."
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that compute; unless given, as many as pay. No number depends on it.",
)
track = click.option(
    "--track",
    metavar="NAME",
    help="Log to a tracker as well: tensorboard or mlflow (files in the folder), trackio or wandb (where they are set "
    "to go).",
)
settings = click.option(
    "--set", "options", multiple=True, metavar="NAME=VALUE", help="Set an option; base.hidden=[32] that of an option."
)


_features = click.option(
    "--features",
    metavar="FILE[:NAME]",
    help="Vectors made elsewhere, one row a text in the order of the file (chosen, rejected of each pair; the "
    "responses of each pool): .npy, safetensors, or a column of Parquet or Arrow, read as they are needed; nothing is "
    "embedded then.",
)


@dataclass(frozen=True)
class SourceOptions:
    """Where the vectors of a file come from, as typed."""

    embedder: str | None
    settings: tuple[str, ...]
    features: str | None

    def embedder_of(self, model: FittedHead | None = None) -> Embedder:
        """Return the embedder that was typed, else that of the model; its options are changed by those typed.

        Raises:
            OptionError: the model was trained on vectors made elsewhere, and no embedder was typed.
        """
        from embrm.data.encode import embedder_of
        from embrm.embedders import Embedder

        options = read_settings(self.settings, example="batch_size=32")
        if self.embedder is None and model is not None:
            return embedder_of(model, options)
        return Embedder.of({"name": "minilm" if self.embedder is None else self.embedder, "options": options})

    def embedding(self) -> dict[str, Any]:
        """Return the embedder, and whether anybody watches its progress, as arguments."""
        return {"embedder": self.embedder_of(), "progress": is_watched()}

    def reading(self, model: FittedHead | None = None) -> dict[str, Any]:
        """Return the arguments of `embrm.data.read` that say how texts become vectors."""
        if self.features is not None:
            return {"features": self.features}
        return {"embedder": self.embedder_of(model), "progress": is_watched()}


def on_texts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how texts become vectors, given to the command as one `source`."""
    return _features(embedding(function))


def embedding(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose the embedder, given to the command as one `source`."""

    @functools.wraps(function)
    def wrapped(
        *, embedder: str | None, embedder_set: tuple[str, ...], features: str | None = None, **others: Any
    ) -> Any:
        return function(source=SourceOptions(embedder, embedder_set, features), **others)

    for option in (
        click.option("--embedder-set", multiple=True, metavar="NAME=VALUE", help="Set an option of the embedder."),
        click.option(
            "--embedder",
            metavar="NAME",
            help="What embeds the texts (`embrm list embedders`): minilm, or what the model was trained with.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@dataclass(frozen=True)
class PenaltyOptions:
    """What the rules `penalised` and `imitation` subtract, as typed."""

    name: str | None
    reference: str | None
    experts: str | None
    space: str | None
    settings: tuple[str, ...]

    def __post_init__(self) -> None:
        from embrm import detectors

        if self.name is None and (self.reference or self.experts or self.space or self.settings):
            raise OptionError(
                "--reference, --experts, --space and --penalty-set say how to penalise; give a --penalty too"
            )
        if self.settings and self.name not in detectors.names():
            raise OptionError(f"--penalty-set sets options of a detector, and '{self.name}' is none")

    def penalty(self, rules: RowRules) -> Penalty | None:
        """Return the penalty, its reference texts read by the rules, or None where none was typed."""
        from embrm import detectors
        from embrm.data.texts import read_texts
        from embrm.evaluation.penalty import Penalty

        if self.name is None:
            return None
        made = recipe(detectors.registry, self.name, self.settings) if self.name in detectors.names() else None
        known, experts = (None if f is None else read_texts(f, rules=rules) for f in (self.reference, self.experts))
        return Penalty(self.name, known, self.space, made, experts)


principle = click.option(
    "--principle",
    metavar="TEXT",
    help="Judge by this principle, such as 'Do not flatter the reader.': of a model that reads one (view="
    "joint+principle).",
)


def open_model(folder: str, principle: str | None, source: SourceOptions) -> FittedHead:
    """Load a model, and put it under a principle where one was typed.

    Raises:
        DataError: the folder is no saved model, or the principle is empty.
        OptionError: the model reads no principle.
    """
    from embrm.data.encode import under
    from embrm.heads import load_model

    model = load_model(folder)
    return model if principle is None else under(model, principle, embedder=source.embedder_of(model))


latent_penalty = click.option(
    "--latent-penalty",
    metavar="WEIGHT",
    type=Number(),
    default=0.0,
    show_default=True,
    help="Subtract so much for each unit of Mahalanobis distance of the latent from those of the training texts of the "
    "topic's class (IBL); what is called proxy is then the difference. 0: off.",
)


def penalty(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what `penalised` and `imitation` subtract, given to the command as one `penalty`."""

    @functools.wraps(function)
    def wrapped(
        *,
        penalty: str | None,
        reference: str | None,
        experts: str | None,
        space: str | None,
        penalty_set: tuple[str, ...],
        **others: Any,
    ) -> Any:
        return function(penalty=PenaltyOptions(penalty, reference, experts, space, penalty_set), **others)

    for option in (
        click.option("--penalty-set", multiple=True, metavar="NAME=VALUE", help="Set an option of the detector."),
        click.option(
            "--space",
            type=click.Choice(["latent", "joint", "response"]),
            help="Vectors that the penalty compares: latent unless given; for mbr and imitation response.",
        ),
        click.option(
            "--experts",
            metavar="FILE",
            help="Expert answers (pools or texts) that --penalty imitation compares with those of the policy: "
            "--reference, or the pools themselves.",
        ),
        click.option(
            "--reference",
            metavar="FILE",
            help="Reference texts (pairs, pools or texts) that the penalty's detector learns, by class where both "
            "files have one.",
        ),
        click.option(
            "--penalty",
            metavar="NAME|FILE",
            help="What penalised subtracts: mahalanobis (IBL), caution or another detector of single rows; mbr; or a "
            "file with one number a response (.npy, or rows like those of `embrm score`). imitation needs imitation.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def recipes(registry: Registry[T], typed: Sequence[str], more: Sequence[str] = ()) -> dict[str, T]:
    """Build recipes typed as `name` or `name:option=value,option=value`, and `more` options of each, by what was typed.

    Raises:
        OptionError: see `recipe`.
    """
    out = {}
    for words in typed:
        name, _, options = words.partition(":")
        out[words] = recipe(registry, name, [*split_settings(options), *more])
    return out


def recipe(registry: Registry[T], name: str, typed: Sequence[str]) -> T:
    """Build the named recipe with options typed as `name=value`, or `outer.inner=value` for those of an option.

    Raises:
        OptionError: there is no such option (the nearest is suggested), or the value is not what it can be.
    """
    names = [field.name for field in dataclasses.fields(registry.get(name)) if field.init]  # type: ignore[arg-type]
    return make(registry, name, read_settings(typed, example=f"{names[0] if names else 'name'}=1"))


def whole_numbers(option: str, typed: str | None) -> list[int] | None:
    """Return `1,2,4` as numbers.

    Raises:
        OptionError: one of them is no whole number.
    """
    try:
        return None if typed is None else [int(part) for part in typed.split(",")]
    except ValueError:
        raise OptionError(f"{option} must be whole numbers with commas between, such as 1,2,4, got '{typed}'") from None
