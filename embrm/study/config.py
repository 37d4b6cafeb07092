"""What a study runs: a YAML file, checked; unknown keys are refused with the nearest known one."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embrm import detectors, heads, selectors
from embrm.errors import OptionError, UnknownNameError

CONFIGS = Path(__file__).parent / "configs"
Positive = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(_Part):
    """Where preferences and pools come from.

    Attributes:
        name: what tables call it.
        kind: "world" is the shipped one; "pool" makes preferences from the gold of a candidate pool, as simulated
            annotators would; "files" takes a pair file and a pool file.
        embedder: whose vectors: of the world "minilm" or "hashing", else any embedder's name.
        embedder_options: fields of its recipe.
        second: of the world, the embedder of a second view, for ensembles across embedders; "" for none.
        pool, pairs: paths of the pool file (or a folder with candidates.jsonl.gz and its vectors) and the pair file.
        vectors: path of vectors made elsewhere, one a response of the pool; "" embeds the texts.
        omit: policies that are left out of the pool, such as one that hacks the judge.
    """

    name: str
    kind: Literal["world", "pool", "files"] = "world"
    embedder: str = "minilm"
    embedder_options: dict[str, Any] = {}
    second: str = ""
    pool: str = ""
    pairs: str = ""
    vectors: str = ""
    omit: list[str] = []


class HeadConfig(_Part):
    """One reward head of a study.

    Attributes:
        name: as `embrm list heads` gives it.
        options: fields of its recipe; a list under `grid` makes one head for every combination.
        title: what tables, figures and claims call it; without one, its name.
        grid: option → values; the titles then say which.
        tuned: whether its options are chosen on validation prompts; of a grid they are not.
        rules: titles of the rules to apply; None applies every rule that the head's reward allows.
        pairs, bias, flips, seeds: where the head is not wanted everywhere; None means the study's.
    """

    name: str
    options: dict[str, Any] = {}
    title: str = ""
    grid: dict[str, list[Any]] = {}
    tuned: bool = True
    rules: list[str] | None = None
    pairs: list[Positive] | None = None
    bias: list[float] | None = None
    flips: list[float] | None = None
    seeds: list[int] | None = None

    def expanded(self) -> Iterator[HeadConfig]:
        """Yield one head for each point of the grid, or the head itself."""
        title = self.title or self.name
        for point in itertools.product(*self.grid.values()):
            at = dict(zip(self.grid, point, strict=True))
            name = " ".join([title, *(f"{key}={value}" for key, value in at.items())])
            yield self.model_copy(
                update={"title": name, "options": self.options | at, "grid": {}, "tuned": self.tuned and not at}
            )


class RuleConfig(_Part):
    """One rule by which a reward is pushed on.

    Attributes:
        name: as `embrm list selectors` gives it.
        options: fields of its recipe.
        title: what tables and claims call it; without one, its name and options.
        penalty: "latent" gives the rule `penalised` the squared distance of each latent to those of the training texts.
    """

    name: str
    options: dict[str, Any] = {}
    title: str = ""
    penalty: Literal["", "latent"] = ""

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.title or " ".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])


class TuningConfig(_Part):
    """How options are chosen, equally for every head: on a seed of its own, on validation prompts.

    Attributes:
        budget: recipes tried for each head, data set and flip fraction; 1 takes the head as it is.
        pairs: training pairs; the size nearest to it among the study's.
    """

    budget: Positive = 3
    pairs: Positive = 1000


class DetectionConfig(_Part):
    """Where detectors look, along the path of each of some heads.

    Attributes:
        heads: titles.
        detectors: names.
        pairs: training pairs of the models that are looked at.
        outputs: texts drawn from the policy at each point.
        points: of the path.
    """

    heads: list[str] = []
    detectors: list[str] = ["csi", "mop", "mahalanobis", "mmd"]
    pairs: Positive = 4000
    outputs: Annotated[int, Field(ge=20)] = 400
    points: Annotated[int, Field(ge=3)] = 9


class RLConfig(_Part):
    """Live reinforcement learning in the simulated world; its new texts need the embedder itself.

    Attributes:
        heads: titles of the heads that are pushed on.
        dataset: name of the data set.
        pairs, bias, flips, seed: of the model.
        steps, batch, learning_rate, kl_weight: see `embrm rl`.
    """

    heads: list[str]
    dataset: str
    pairs: Positive = 4000
    bias: float = 1.0
    flips: float = 0.25
    seed: int = 0
    steps: Positive = 100
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: float = 0.1
    kl_weight: float = 0.02


class StudyConfig(_Part):
    """A study; the comments in configs/laptop.yaml say what each value does."""

    seeds: Annotated[list[int], Field(min_length=1)]
    datasets: Annotated[list[DatasetConfig], Field(min_length=1)]
    bias: Annotated[list[float], Field(min_length=1)] = [0.0, 1.0]
    flips: Annotated[list[Annotated[float, Field(ge=0, lt=0.5)]], Field(min_length=1)] = [0.0, 0.25]
    pairs: Annotated[list[Annotated[int, Field(ge=10)]], Field(min_length=1)]
    heads: Annotated[list[HeadConfig], Field(min_length=1)]
    rules: list[RuleConfig] = [RuleConfig(name="mean")]
    sizes: Annotated[list[Positive], Field(min_length=2)] = [1, 2, 4, 8, 16, 32, 64, 128]
    kl_end: Annotated[float, Field(gt=0)] = 4.0
    kl_points: Annotated[int, Field(ge=3)] = 25
    tuning: TuningConfig = TuningConfig()
    detection: DetectionConfig = DetectionConfig()
    rl: RLConfig | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    core_seconds: Annotated[float, Field(gt=0)] = 3600.0

    @property
    def titles(self) -> list[str]:
        """Titles of all heads."""
        return [head.title for head in self.heads]


def names() -> list[str]:
    """Return the names of the shipped configurations."""
    return sorted(f.stem for f in CONFIGS.glob("*.yaml"))


def load_config(source: str = "laptop", overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a shipped configuration by name, or a YAML file by path, and apply overrides such as `pairs=[500]`.

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
        raise OptionError(f"{path} must hold keys and values such as `seeds: [0, 1]`, got {type(values).__name__}")
    for item in overrides:
        _set(values, item)
    return parse(values, where=str(path))


def parse(values: dict[str, Any], *, where: str = "the configuration") -> StudyConfig:
    """Check a configuration's values and return it with its grids expanded.

    Raises:
        OptionError: an unknown key (the nearest is suggested), or a value or combination that cannot be.
        UnknownNameError: no head, selector or detector has that name.
    """
    try:
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise OptionError(f"{where}: {_explain(error)}") from None
    config = config.model_copy(update={"heads": [h for head in config.heads for h in head.expanded()]})
    _check(config, where)
    return config


def _check(config: StudyConfig, where: str) -> None:
    labels = [rule.label for rule in config.rules]
    for what, titles in (
        ("heads", config.titles),
        ("rules", labels),
        ("datasets", [data.name for data in config.datasets]),
    ):
        double = sorted({title for title in titles if titles.count(title) > 1})
        if double:
            raise OptionError(f"{where}: {what}: {', '.join(double)} is there twice; give equal ones different titles")
    for rule in config.rules:
        made = selectors.get(rule.name)  # a misspelt name is refused before any work
        _made(made, rule.options, f"{where}: rule '{rule.label}'")
        if rule.penalty and rule.name != "penalised":
            raise OptionError(f"{where}: rule '{rule.label}': only 'penalised' takes a penalty")
        if rule.name == "penalised" and not rule.penalty:
            raise OptionError(f"{where}: rule '{rule.label}' needs a penalty; there is 'latent'")
    for head in config.heads:
        _made(heads.registry.get(head.name), {}, f"{where}: head '{head.title}'")
        _known(head.rules or [], labels, f"{where}: head '{head.title}': rules")
    for name in config.detection.detectors:
        detectors.registry.get(name)
    _known(config.detection.heads, config.titles, f"{where}: detection.heads")
    if config.rl:
        _known(config.rl.heads, config.titles, f"{where}: rl.heads")
        worlds = [data.name for data in config.datasets if data.kind == "world"]
        _known([config.rl.dataset], worlds, f"{where}: rl.dataset (its texts are written by the world)")
    for data in config.datasets:
        if data.kind != "world" and not data.pool:
            raise OptionError(f"{where}: dataset '{data.name}': kind '{data.kind}' needs a pool file under 'pool'")
        if data.kind == "files" and not data.pairs:
            raise OptionError(f"{where}: dataset '{data.name}': kind 'files' needs a pair file under 'pairs'")


def _made(recipe: Any, options: dict[str, Any], where: str) -> None:
    try:
        recipe(**options)
    except (OptionError, TypeError) as error:
        raise OptionError(f"{where}: {error}") from None


def _known(asked: Sequence[str], known: Sequence[str], where: str) -> None:
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known) or 'none'}."
            raise OptionError(f"{where}: no '{name}'. {hint}")


def _set(values: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals:
        raise OptionError(f"'{item}' is not KEY=VALUE; write for example pairs=[500]")
    *path, last = key.split(".")
    place: Any = values
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(text)
    except (IndexError, TypeError, ValueError, AttributeError, yaml.YAMLError):
        raise OptionError(f"'{key}' leads nowhere in this configuration; look at its YAML file") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}, got {first['input']!r}"
    model: Any = StudyConfig
    for part in first["loc"][:-1]:
        if not isinstance(part, int):
            model = _inner(model.model_fields[str(part)].annotation)
    known = list(model.model_fields)
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
    return f"no key '{where}'. {hint}"


def _inner(annotation: Any) -> Any:
    """Return the model inside `list[Model]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(found for found in map(_inner, getattr(annotation, "__args__", ())) if found is not None)
