"""The cells of a study, each with the key that names its row, in the batches that are fitted together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any

import numpy as np

from embrm import selectors
from embrm.core.data import Features, Pairs
from embrm.core.recipe import make
from embrm.core.version import __version__
from embrm.errors import DataError, OptionError
from embrm.heads import Head
from embrm.study.config import DatasetConfig, ExperimentConfig, HeadConfig, StudyConfig
from embrm.study.datasets import Dataset, identify, kind_of, open_dataset
from embrm.study.results import Cell, CellKind, Labelling, key_of
from embrm.study.runner.sizes import limit, possible
from embrm.study.schema import OWN_LABELS, TrainedPart

TUNING_SEED = 1_000_003  # the next number that is no seed of the study
CONTROLS = ("oracle", "length", "random")
PHASES = (("control", "tuning"), ("fit", "experiment"), ("rl",))  # fits take the options that tuning chose
CHUNK = 20  # fits in one batch at most: what a killed run has to do again


@dataclass(frozen=True)
class CellBatch:
    """Cells of one kind that one worker computes in one go: those of one data set, head and number of pairs.

    A fit depends, by up to 1e-3, on what it is batched with; a batch is therefore always fitted whole, also where a
    killed run left only some of its rows to be measured.

    Attributes:
        kind: of its cells.
        dataset: where the pairs come from.
        cells: cell → key of its row.
        head: the head; None for controls and experiments.
        tuning: mechanism and flips → key of the row that says which options to take; empty where the head is taken as
            it is.
        experiment: the experiment, of cells of that kind.
    """

    kind: CellKind
    dataset: DatasetConfig
    cells: Mapping[Cell, str]
    head: HeadConfig | None = None
    tuning: Mapping[Labelling, str] = field(default_factory=dict)
    experiment: ExperimentConfig | None = None

    @property
    def title(self) -> str:
        """Title of its head or experiment; "" for controls."""
        return self.head.title if self.head else self.experiment.label if self.experiment else ""

    def __str__(self) -> str:
        first = next(iter(self.cells))
        return f"{first}" + (f" and {len(self.cells) - 1} more" if len(self.cells) > 1 else "")


@dataclass(frozen=True)
class Plan:
    """All that a study computes.

    Attributes:
        config: the study.
        batches: controls, tuning, fits, experiments and live training, in that order.
    """

    config: StudyConfig
    batches: Sequence[CellBatch]

    @cached_property
    def keys(self) -> dict[Cell, str]:
        """All cells and the keys of their rows."""
        return {cell: key for batch in self.batches for cell, key in batch.cells.items()}

    def only(self, patterns: frozenset[str]) -> Plan:
        """Return the part of the heads and experiments whose titles match; controls are always needed."""
        kept = (b for b in self.batches if not b.title or any(fnmatchcase(b.title, pattern) for pattern in patterns))
        return Plan(self.config, list(kept))


def plan(config: StudyConfig) -> Plan:
    """Return the cells of a study; a key holds the hash of the data, and of sizes those are asked for that there are.

    Raises:
        DataError: a data set cannot be read, or has fewer training pairs than the smallest size.
        OptionError: a data set does not know what a mechanism asks for.
    """
    batches: list[CellBatch] = []
    for data in config.datasets:
        batches.append(_controls(config, data))
        parts: list[TrainedPart] = [*config.heads, *config.experiments]
        seeds = {*config.seeds, tuning_seed(config), *(seed for part in parts for seed in part.seeds or ())}
        sizes = {title: possible(config, data, title, seeds=seeds) for title in _mechanisms(config, data)}
        for head in (head for head in config.heads if head.datasets is None or data.name in head.datasets):
            tuning = list(_tuning(config, data, head, sizes))
            winners = {cell.labelling: key for batch in tuning for cell, key in batch.cells.items()}
            batches += [*tuning, *_fits(config, data, head, winners, sizes), *_live(config, data, head, winners)]
        for asked in config.experiments:
            if asked.datasets is None or data.name in asked.datasets:
                batches += _experiments(config, data, asked, sizes)
    order = ("control", "tuning", "fit", "experiment", "rl")
    return Plan(config, sorted(_once(batches), key=lambda batch: order.index(batch.kind)))


def _once(batches: Sequence[CellBatch]) -> Iterator[CellBatch]:
    """Yield the batches without cells that an earlier one has: a head may stand more than once, for other cells."""
    seen: set[Cell] = set()
    for batch in batches:
        cells = {cell: key for cell, key in batch.cells.items() if cell not in seen}
        seen |= cells.keys()
        if cells:
            yield replace(batch, cells=cells)


def opened(config: DatasetConfig) -> Dataset:
    """Open a data set, once in each process."""
    return _opened(config.model_dump_json())


@cache
def _opened(text: str) -> Dataset:
    return open_dataset(DatasetConfig.model_validate_json(text))


@cache
def _identity(text: str) -> str:
    return identify(DatasetConfig.model_validate_json(text))


def tuning_seed(config: StudyConfig) -> int:
    """Return the seed that options are chosen with, which no fit of the study has."""
    return next(seed for seed in range(TUNING_SEED, TUNING_SEED + len(config.seeds) + 1) if seed not in config.seeds)


def _controls(config: StudyConfig, data: DatasetConfig) -> CellBatch:
    cells = [Cell("control", data.name, name) for name in CONTROLS]
    return CellBatch("control", data, {cell: _key(cell, data, _measured(config)) for cell in cells})


def _tuning(
    config: StudyConfig, data: DatasetConfig, head: HeadConfig, sizes: Mapping[str, Sequence[int]]
) -> Iterator[CellBatch]:
    """Yield one batch for each way of labelling: validation pairs are like those of training, as nobody has others."""
    labelling = {(title, share) for title in _mechanisms(config, data, head) for share in head.flips or config.flips}
    if config.rl and _is_live(config, data, head):
        labelling |= {(title, config.rl.flips) for title in config.rl.mechanisms}
    for title, share in sorted(labelling) if head.tuned else ():
        pairs = min(sizes[title], key=lambda n: (abs(n - config.tuning.pairs), n))
        cell = Cell("tuning", data.name, head.title, pairs, title, share, tuning_seed(config))
        asked = (_made(config, title), _recipe(head), config.tuning.budget)
        yield CellBatch("tuning", data, {cell: _key(cell, data, *asked)}, head)


def _fits(
    config: StudyConfig,
    data: DatasetConfig,
    head: HeadConfig,
    winners: Mapping[Labelling, str],
    sizes: Mapping[str, Sequence[int]],
) -> Iterator[CellBatch]:
    asked = (_recipe(head), _measured(config), [rule.model_dump(exclude={"heads"}) for rule in config.rules_of(head)])
    for pairs in head.pairs or config.pairs:
        for mechanism, flips in itertools.product(_mechanisms(config, data, head), head.flips or config.flips):
            if pairs not in sizes[mechanism]:
                continue
            labelling = (mechanism, flips)
            looks = config.detection.watches(head.title, pairs=pairs, mechanism=mechanism, flips=flips)
            detection = config.detection.model_dump(exclude={"mechanisms", "flips"}) if looks else None
            made = (*asked, detection, _made(config, mechanism), winners.get(labelling))
            # One way of labelling shares its options. Full batches stay what they were when seeds are added at the end.
            seeds = head.seeds or config.seeds
            for start in range(0, len(seeds), CHUNK):
                part = seeds[start : start + CHUNK]
                cells = [Cell("fit", data.name, head.title, pairs, *labelling, seed) for seed in part]
                tuning = {labelling: winners[labelling]} if head.tuned else {}
                yield CellBatch("fit", data, {cell: _key(cell, data, *made) for cell in cells}, head, tuning)


def _experiments(
    config: StudyConfig, data: DatasetConfig, asked: ExperimentConfig, sizes: Mapping[str, Sequence[int]]
) -> Iterator[CellBatch]:
    """Yield a batch for each cell, since nothing is shared between them."""
    settings = (asked.pairs or config.pairs, _mechanisms(config, data, asked), asked.flips or config.flips)
    for pairs, mechanism, flips in itertools.product(*settings):
        for seed in (asked.seeds or config.seeds) if pairs in sizes[mechanism] else ():
            cell = Cell("experiment", data.name, asked.label, pairs, mechanism, flips, seed)
            key = _key(cell, data, [asked.name, asked.options], _made(config, mechanism))
            yield CellBatch("experiment", data, {cell: key}, experiment=asked)


def _live(
    config: StudyConfig, data: DatasetConfig, head: HeadConfig, winners: Mapping[Labelling, str]
) -> Iterator[CellBatch]:
    rl = config.rl
    for title in rl.mechanisms if rl and _is_live(config, data, head) else ():
        assert rl is not None
        most = limit(config, data, title, seeds=rl.seeds)
        if most is not None and most < rl.pairs:
            raise DataError(
                f"dataset '{data.name}' has {most} training pairs, and 'rl' asks for {rl.pairs}; lower them"
            )
        asked = [rl.model_dump(exclude={"heads", "dataset", "mechanisms", "seeds", "rules"}), _made(config, title)]
        known = (_recipe(head), *asked, config.detection.detectors, winners.get((title, rl.flips)))
        rules = [rule for rule in config.rules_of(head) if rule.label in rl.rules]
        for rule, seed in itertools.product([None, *rules], rl.seeds):  # each for itself, as a run takes minutes
            cell = Cell("rl", data.name, head.title, rl.pairs, title, rl.flips, seed, rule.label if rule else "")
            by = [rule.model_dump(exclude={"heads"})] if rule else []
            yield CellBatch("rl", data, {cell: _key(cell, data, *known, *by)}, head, winners)


def _mechanisms(config: StudyConfig, data: DatasetConfig, part: TrainedPart | None = None) -> Sequence[str]:
    """Return the titles of the mechanisms that pairs come by, of a head or experiment those that it asks for."""
    if kind_of(data).own_labels:
        return [OWN_LABELS]
    return (part and part.mechanisms) or list(config.mechanisms)


def _made(config: StudyConfig, title: str) -> dict[str, Any]:
    return asdict(config.mechanism(title))


def _is_live(config: StudyConfig, data: DatasetConfig, head: HeadConfig) -> bool:
    return config.rl is not None and data.name == config.rl.dataset and head.title in config.rl.heads


def _measured(config: StudyConfig) -> dict[str, Any]:
    return config.model_dump(include={"sizes", "kl_end", "kl_points"})


def _recipe(head: HeadConfig) -> list[Any]:
    return [head.name, head.options]


def _key(cell: Cell, data: DatasetConfig, *parts: Any) -> str:
    return key_of(__version__, cell.known, _identity(data.model_dump_json()), *parts)


def check_heads(config: StudyConfig, heads: Sequence[HeadConfig]) -> None:
    """Refuse, before any work, options that a head does not take, and rules that its reward does not allow.

    Raises:
        OptionError: such as the rule `worst_case`, asked for by name, of a head with one member.
    """
    for head in heads:
        try:
            recipe = Head.of({"name": head.name, "options": head.options})
        except (OptionError, TypeError) as error:
            raise OptionError(f"head '{head.title}': {error}") from None
        if head.rules is None or not type(recipe).__module__.startswith("embrm."):
            continue  # another package's head may do anything when it is fitted, and not in this process
        pairs = _tiny(recipe)
        reward = recipe.fit(pairs, seed=0).score(pairs.features)
        for rule in config.rules_of(head):
            penalty = np.zeros(len(pairs.features)) if rule.penalty else None
            try:
                make(selectors.registry, rule.name, rule.options)(reward, penalty=penalty, seed=0)
            except (DataError, OptionError) as error:
                raise OptionError(
                    f"head '{head.title}' does not allow the rule '{rule.label}': {error}; take the rule "
                    "out of its 'rules', or leave 'rules' out to apply those that it allows"
                ) from None


def _tiny(recipe: Head) -> Pairs:
    """Return forty pairs of a planted reward, under every view that the recipe reads."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6))
    better = np.where(x[::2, 0] > x[1::2, 0], 0, 1)
    rows = np.arange(0, 80, 2)
    features = Features(dict.fromkeys(recipe.reads, x), prompt=np.repeat(np.arange(20), 4))
    return Pairs(features, rows + better, rows + 1 - better)
