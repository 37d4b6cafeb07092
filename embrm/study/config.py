"""What a study runs: a YAML file, checked; unknown keys are refused with the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embrm import detectors, heads
from embrm.errors import OptionError, UnknownNameError

CONFIGS = Path(__file__).parent / "configs"


class HeadConfig(BaseModel):
    """One reward head of a study.

    Attributes:
        name: as `embrm list heads` gives it.
        options: fields of its recipe.
        label: what tables and figures call it; without one, its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}
    label: str = ""

    @property
    def title(self) -> str:
        """What tables and figures call the head."""
        return self.label or self.name


class StudyConfig(BaseModel):
    """A study; the comments in configs/laptop.yaml say what each value does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: Annotated[list[int], Field(min_length=2)]
    embedder: str = "minilm"
    bias: float = 1.0
    flips: Annotated[float, Field(ge=0, lt=0.5)] = 0.25
    pairs: Annotated[int, Field(ge=10)] = 4000
    heads: Annotated[list[HeadConfig], Field(min_length=1)]
    kl_points: Annotated[int, Field(ge=3)] = 25
    detectors: list[str] = ["mahalanobis", "mmd"]
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05


def names() -> list[str]:
    """Return the names of the shipped configurations."""
    return sorted(f.stem for f in CONFIGS.glob("*.yaml"))


def load_config(source: str = "laptop", overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a shipped configuration by name, or a YAML file by path, and apply overrides such as `pairs=500`.

    Args:
        source: a name of `names()`, or a path.
        overrides: `key=value`; `a.b=c` reaches inside, `heads.0.options.beta=0.01` too. Values are YAML.

    Raises:
        UnknownNameError: no such configuration or file.
        OptionError: an unknown key (the nearest is suggested), or a value that cannot be.
    """
    path = CONFIGS / f"{source}.yaml" if source in names() else Path(source)
    if not path.is_file():
        raise UnknownNameError(f"no configuration named '{source}', and no such file. There are: {', '.join(names())}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise OptionError(f"{path} must hold keys and values such as `pairs: 4000`, got {type(values).__name__}")
    for item in overrides:
        _set(values, item)
    try:
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise OptionError(f"{path}: {_explain(error)}") from None
    for head in config.heads:
        heads.registry.get(head.name)  # a misspelt name is refused before any work
    for name in config.detectors:
        detectors.registry.get(name)
        if name in ("csi", "conformal"):
            raise OptionError(f"{path}: detectors: '{name}' gives a set of texts no p-value; name others")
    titles = [head.title for head in config.heads]
    if len(set(titles)) != len(titles):
        raise OptionError(f"{path}: the heads' names must differ, got {', '.join(titles)}; give equal heads a label")
    return config


def _set(values: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals:
        raise OptionError(f"'{item}' is not KEY=VALUE; write for example pairs=500")
    *path, last = key.split(".")
    place: Any = values
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(text)
    except (IndexError, TypeError, ValueError, AttributeError):
        raise OptionError(f"'{key}' leads nowhere in this configuration; look at its YAML file") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = (HeadConfig if len(first["loc"]) > 1 else StudyConfig).model_fields
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
        return f"no key '{where}'. {hint}"
    return f"{where}: {first['msg']}, got {first['input']!r}"
