"""What a study runs: a YAML file, checked; unknown keys are refused with the nearest known one."""

from __future__ import annotations

import difflib
import json
import reprlib
import warnings
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from embrm import detectors, heads, selectors
from embrm.core.recipe import build
from embrm.core.yaml_files import read_yaml
from embrm.errors import DataError, OptionError
from embrm.study.config_absent import AbsentWarning, without_absent
from embrm.study.config_files import extended_by, names, read_values
from embrm.study.datasets import kind_of
from embrm.study.experiments import Experiment
from embrm.study.schema import (
    DatasetConfig,
    DetectionConfig,
    ExperimentConfig,
    HeadConfig,
    RLConfig,
    RuleConfig,
    StudyConfig,
    TuningConfig,
)

__all__ = [
    "DatasetConfig",
    "DetectionConfig",
    "ExperimentConfig",
    "HeadConfig",
    "RLConfig",
    "RuleConfig",
    "StudyConfig",
    "TuningConfig",
    "load_config",
    "names",
    "parse",
]

WRITING = ("world", "fast", "language_model")  # kinds of data sets that can write new texts


def load_config(source: str = "laptop", overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a shipped configuration by name, or a YAML file by path, and apply overrides such as `pairs=[500]`.

    What names a head, rule, mechanism or data set that a file takes out of the one that it extends is left out, and
    what names one that an override takes out likewise, with a warning.

    Args:
        source: a name of `names()`, or a path.
        overrides: `key=value`, set last; `a.b=c` reaches inside, `heads.0.options.beta=0.01` too. Values are YAML.

    Raises:
        UnknownNameError: no such configuration or file.
        OptionError: an unknown key (the nearest is suggested), or a value that cannot be; see also `read_values`.
    """
    values, path = read_values(source)
    bases = [_read(*extended) for extended in extended_by(path)]
    config = _without(_read(values, str(path)), bases)
    if overrides:
        for item in overrides:
            _set(values, item)
        changed, left = without_absent(_read(values, str(path)), config)
        if left:
            warnings.warn(f"left out, as what they are about was taken out by an override: {left}", AbsentWarning, 2)
        config = _without(changed, bases)
    _check(config, str(path))
    return config


def _without(config: StudyConfig, bases: Sequence[StudyConfig]) -> StudyConfig:
    """Return a configuration without what names parts that it takes out of those that it extends."""
    for base in bases:
        config, _ = without_absent(config, base)
    return config


def parse(values: dict[str, Any], *, where: str = "the configuration") -> StudyConfig:
    """Check a configuration's values and return it with its grids expanded.

    Raises:
        OptionError: an unknown key (the nearest is suggested), or a value or combination that cannot be.
        UnknownNameError: no head, selector, detector or kind of data set has that name.
    """
    config = _read(values, where)
    _check(config, where)
    return config


def _read(values: dict[str, Any], where: str) -> StudyConfig:
    try:
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise OptionError(f"{where}: {_explain(error)}") from None
    return config.model_copy(update={"heads": [h for head in config.heads for h in head.expanded()]})


def _check(config: StudyConfig, where: str) -> None:
    for head in config.heads:
        heads.registry.check(head.name)
    labels = [rule.label for rule in config.rules]
    # A head may stand there more than once, for different cells, but a title means one head.
    recipes = {(h.title, json.dumps(h.model_dump(include={"name", "options", "tuned", "rules"}))) for h in config.heads}
    for what, titles in (
        ("heads", [title for title, _ in recipes]),
        ("rules", labels),
        ("heads and experiments", [*config.titles, *(asked.label for asked in config.experiments)]),
        ("datasets", [data.name for data in config.datasets]),
    ):
        double = sorted({title for title in titles if titles.count(title) > 1})
        if double:
            raise OptionError(f"{where}: {what}: {', '.join(double)} is there twice; give equal ones different titles")
    for rule in config.rules:
        build(selectors.get(rule.name), rule.options, what=f"{where}: rule '{rule.label}'")
        _known(rule.heads, config.titles, f"{where}: rule '{rule.label}': heads")
        needed = {"penalised": "latent", "imitation": "experts"}.get(rule.name, "")
        if rule.penalty and not needed:
            raise OptionError(f"{where}: rule '{rule.label}': only 'penalised' and 'imitation' take a penalty")
        if rule.penalty != needed:
            raise OptionError(f"{where}: rule '{rule.label}' needs a penalty; there is '{needed}'")
    for head in config.heads:
        _known(head.rules or [], labels, f"{where}: head '{head.title}': rules")
        _known(head.datasets or [], [data.name for data in config.datasets], f"{where}: head '{head.title}': datasets")
        _known(head.mechanisms or [], list(config.mechanisms), f"{where}: head '{head.title}': mechanisms")
    for title in config.mechanisms:
        config.mechanism(title)
    for name in config.detection.detectors:
        detectors.registry.check(name)
    _known(config.detection.heads, config.titles, f"{where}: detection.heads")
    _known(config.detection.mechanisms or [], list(config.mechanisms), f"{where}: detection.mechanisms")
    for asked in config.experiments:
        _check_experiment(config, asked, f"{where}: experiment '{asked.label}'")
    if config.rl:
        _known(config.rl.heads, config.titles, f"{where}: rl.heads")
        _known(config.rl.mechanisms, list(config.mechanisms), f"{where}: rl.mechanisms")
        _known(config.rl.rules, labels, f"{where}: rl.rules")
        writing = [data.name for data in config.datasets if data.kind in WRITING]
        _known([config.rl.dataset], writing, f"{where}: rl.dataset (it must be one that can write new texts)")
    for data in config.datasets:
        for field in kind_of(data).needs:
            if not getattr(data, field):
                raise OptionError(f"{where}: dataset '{data.name}': kind '{data.kind}' needs '{field}'")


def _check_experiment(config: StudyConfig, asked: ExperimentConfig, where: str) -> None:
    try:
        recipe = Experiment.of({"name": asked.name, "options": asked.options})
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from None
    _known(asked.datasets or [], [data.name for data in config.datasets], f"{where}: datasets")
    _known(asked.mechanisms or [], list(config.mechanisms), f"{where}: mechanisms")
    for data in config.datasets:
        if data.kind not in recipe.kinds and (asked.datasets is None or data.name in asked.datasets):
            raise OptionError(
                f"{where}: the data set '{data.name}' is of kind '{data.kind}', and this is made on "
                f"{' or '.join(recipe.kinds)}; name those that can under its 'datasets'"
            )


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
    try:
        value = read_yaml(text, name=f"the value of '{key}'")
    except DataError as error:
        raise OptionError(f"{error}; write for example pairs=[500]") from None
    place: Any = values
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (IndexError, TypeError, ValueError, AttributeError):
        raise OptionError(f"'{key}' leads nowhere in this configuration; look at its YAML file") from None


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}, got {reprlib.repr(first['input'])}"
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
