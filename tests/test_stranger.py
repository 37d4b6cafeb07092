"""A package of a stranger's: public names and entry points alone make it part of every command.

It brings a head, a random rule, a detector, an embedder and a claim, is installed as a wheel would be (modules and a
dist-info folder), and each command runs in a process of its own.
"""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.small_study import BAD, GOOD, on_pool, write_pool

HEAD = '''
"""A head of a stranger's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.data import Problem
from embrm.core.registry import register
from embrm.core.results import State
from embrm.heads import FittedHead, Head


@register
@dataclass(frozen=True, kw_only=True)
class Centroid(Head):
    """From the mean of the rejected texts to the mean of the chosen ones.

    Attributes:
        gain: what the reward is multiplied by.
    """

    gain: float = 1.0

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        return [self._fit(problem) for problem in problems]

    def _fit(self, problem: Problem) -> FittedHead:
        pairs = problem.pairs
        x = pairs.features.matrix(self.view).astype(np.float64)
        weight = self.gain * (x[pairs.chosen] - x[pairs.rejected]).mean(axis=0)
        mean = np.array([(x @ weight).mean()])
        return FittedCentroid(self, x.shape[1], pairs.features.embedder, mean, {}, weight)

    def restore(self, state: State) -> FittedHead:
        config, arrays = state.config, state.arrays
        known = config["width"], config["embedder"], arrays["reference"], config["record"]
        return FittedCentroid(self, *known, arrays["weight"])


@dataclass(frozen=True, eq=False)
class FittedCentroid(FittedHead):
    weight: Array

    def _draws(self, x: Array) -> Array:
        return (x @ self.weight)[None]

    def _latent(self, x: Array, member: int) -> Array:
        return x * self.weight

    def arrays(self) -> dict[str, Array]:
        return {"weight": self.weight}
'''

RULE = '''
"""A rule of a stranger's that draws at random."""

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.registry import register
from embrm.selectors import RandomRule, pool_of


@register
@dataclass(frozen=True, kw_only=True)
class AmongBest(RandomRule):
    """Any of the k largest mean rewards."""

    k: int = 2

    def probability(self, value: Array, offsets: IntArray) -> Array:
        pool, sizes = pool_of(offsets), np.diff(offsets)
        rank = np.empty(len(value), dtype=np.int64)
        rank[np.lexsort((-value, pool))] = np.arange(len(value)) - offsets[pool]
        most = np.minimum(self.k, sizes)[pool]
        return (rank < most) / most
'''

DETECTOR = '''
"""A detector of a stranger's."""

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.detectors import CalibratedDetector, LearntScore


@register
@dataclass(frozen=True, kw_only=True)
class Median(CalibratedDetector):
    """Distance to the median of the reference."""

    def learn(self, x: Array, *, seed: int) -> LearntScore:
        centre = np.median(x, axis=0)
        return LearntScore(lambda rows: np.linalg.norm(rows - centre, axis=1))
'''

EMBEDDER = '''
"""An embedder of a stranger's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embrm.core.registry import register
from embrm.embedders import Embedded, Embedder, check_texts


@register
@dataclass(frozen=True)
class Vocabulary(Embedder):
    """Counts of some words.

    Attributes:
        words: which.
    """

    words: tuple[str, ...] = ("correct", "step", "clear", "wrong", "vague", "never")

    @property
    def identity(self) -> str:
        return f"vocabulary {' '.join(self.words)}"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        check_texts(texts)
        rows = [[text.split().count(word) for word in self.words] for text in texts]
        cut = np.zeros(len(texts), dtype=bool)
        return Embedded(np.array(rows, dtype=np.float32), cut=cut, computed=len(set(texts)))
'''

CLAIM = '''
"""A claim of a stranger's."""

from embrm.study.claims import Cells, Measured, Metric, Of, claim, difference


@claim(
    "centroid-gains",
    "The centroid gains gold over the reference policy",
    source="A stranger 2026",
    heads=["centroid"],
    setting="The pools are small.",
)
def gains(cells: Cells) -> Measured:
    mean = Metric("bon", "mean")
    (gold,) = cells.gather(Of("centroid", mean))
    more = cells.mean(gold[..., -1] - gold[..., 0], cells.clusters(mean))
    return [difference("gold of the best of all minus that of one", more)], ""
'''

MODULES = {"head": HEAD, "rule": RULE, "detector": DETECTOR, "embedder": EMBEDDER, "claims": CLAIM}
POINTS = """
[embrm.heads]
centroid = stranger.head:Centroid
[embrm.selectors]
among_best = stranger.rule:AmongBest
[embrm.detectors]
median_distance = stranger.detector:Median
[embrm.embedders]
vocabulary = stranger.embedder:Vocabulary
[embrm.claims]
centroid-gains = stranger.claims
"""

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with preferences, pools and other texts, and the stranger's package in `site` beside them."""
    place = tmp_path_factory.mktemp("stranger")
    package, info = place / "site" / "stranger", place / "site" / "stranger-0.3.dist-info"
    for folder in (package, info):
        folder.mkdir(parents=True)
    for name, source in {"__init__": "", **MODULES}.items():
        (package / f"{name}.py").write_text(source, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 0.3\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    rng = random.Random(0)

    def text(words: list[str]) -> str:
        return " ".join(rng.choice(words) for _ in range(12))

    prefs = [{"prompt": f"How is lamp {i} mended?", "chosen": text(GOOD), "rejected": text(BAD)} for i in range(80)]
    other = [{"prompt": f"And lamp {i}?", "response": "correct " * 40} for i in range(60)]
    for name, rows in (("prefs", prefs), ("other", other)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_pool(place / "pool.jsonl", prompts=64)
    return place


@pytest.fixture(scope="module")
def embrm(place: Path) -> Run:
    """Give what runs a command in the folder and returns what it prints, as JSON where it can."""
    path = os.pathsep.join([str(place / "site"), str(Path(__file__).parent.parent)])

    def run(*words: str, code: int = 0, as_json: bool = True) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", "from embrm.cli import main; main()", *words, *(["--json"] if as_json else [])],
            cwd=place,
            env={**os.environ, "PYTHONPATH": path, "EMBRM_CACHE": str(place / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if as_json else done.stdout

    return run


def test_the_package_uses_public_names_alone() -> None:
    for source in MODULES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("embrm"):
                assert not [w for w in [*node.module.split("."), *(a.name for a in node.names)] if w.startswith("_")]


@pytest.mark.parametrize(
    ("family", "name", "told"),
    [
        ("heads", "centroid", "From the mean of the rejected texts"),
        ("selectors", "among_best", "Any of the k largest mean rewards."),
        ("detectors", "median_distance", "Distance to the median of the reference."),
        ("embedders", "vocabulary", "Counts of some words."),
        ("claims", "centroid-gains", "The centroid gains gold"),
    ],
)
def test_its_members_are_listed(embrm: Run, family: str, name: str, told: str) -> None:
    listed = embrm("list", family, as_json=False)
    (line,) = [line for line in listed.splitlines() if name in line.split()]
    assert told in line


@pytest.mark.slow
def test_its_members_work_in_every_command(place: Path, embrm: Run) -> None:
    fitted = ["prefs.jsonl", "--head", "centroid", "--set", "gain=2", "--embedder", "vocabulary", "-o", "model"]
    embrm("fit", *fitted)
    config = json.loads((place / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["name"] == "centroid"
    assert config["options"]["gain"] == 2

    chosen = embrm("select", "model", "pool.jsonl", "--selector", "among_best", "--set", "k=3", "--seed", "1")
    assert len(chosen["rows"]) == 64

    curve = embrm("curve", "model", "pool.jsonl", "--selector", "mean", "--selector", "among_best:k=1", "--seed", "0")
    text = json.dumps(curve)
    assert "among_best:k=1" in text
    assert "mean" in text

    embrm("detect", "model", "prefs.jsonl", "other.jsonl", "--detector", "median_distance", code=3)

    study = on_pool(place / "pool.jsonl") | {
        "heads": [{"name": "centroid"}],
        "rules": [{"name": "mean"}, {"name": "among_best"}],
        "datasets": [{"name": "lamps", "kind": "pool", "pool": "pool.jsonl", "embedder": "vocabulary"}],
        "detection": {"heads": ["centroid"], "detectors": ["median_distance"], "pairs": 60, "outputs": 60, "points": 3},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    embrm("study", "--config", "study.yaml", "-o", "run", "--workers", "1")
    claims = json.loads((place / "run" / "claims.json").read_text(encoding="utf-8"))
    (found,) = [claim for claim in claims if claim["id"] == "centroid-gains"]
    assert found["verdict"] == "supported"
    assert found["effect"] > 0
