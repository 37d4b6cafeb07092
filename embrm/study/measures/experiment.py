"""An experiment inside a study: its row."""

from __future__ import annotations

import numpy as np

from embrm.core.arrays import Array
from embrm.study.config import ExperimentConfig, StudyConfig
from embrm.study.datasets import Dataset
from embrm.study.experiments import Experiment, ExperimentSetting
from embrm.study.metric import Metric
from embrm.study.results import Cell, Row


def experiment(config: StudyConfig, asked: ExperimentConfig, data: Dataset, cell: Cell, key: str) -> Row:
    """Return the row of an experiment in one setting, with the clusters of each measurement's prompts.

    Args:
        config: the study, for its mechanisms.
        asked: the experiment and its options.
        data: what it is made on.
        cell: the setting.
        key: the row's name.
    """
    recipe = Experiment.of({"name": asked.name, "options": asked.options})
    setting = ExperimentSetting(data, config.mechanism(cell.mechanism), cell.flips, cell.pairs, cell.seed)
    arrays: dict[Metric, Array] = {}
    for name, found in recipe.measure(setting).items():
        arrays[Metric("experiment", f"{asked.label}.{name}")] = found.values
        arrays[Metric("clusters", f"{asked.label}.{name}")] = found.clusters.astype(np.float64)
    return Row(cell, key, arrays=arrays)
