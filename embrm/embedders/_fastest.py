"""Which backend and precision a model computes in: the fastest, as measured, whose vectors stay at those of float32."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from embrm.core.arrays import Array
from embrm.core.machine import cores, processor

COSINE_FLOOR = 0.999  # what stays above it with every probe orders texts as float32 does
GAIN = 1.1  # float32 is left for what is faster by this factor
ROUNDS = 3
# Short and long, prose, code, numbers and other scripts: what a preference set holds.
PROBES = (
    "",
    "Yes.",
    "How do I boil an egg so that the yolk stays soft?\n\nPut it into boiling water for six and a half minutes.",
    "def area(radius: float) -> float:\n    return 3.14159 * radius**2\n",
    "1. Preheat the oven to 180 °C.\n2. Mix 250 g flour, 125 g butter and 2 eggs.\n3. Bake for 35 minutes.",
    "Ich weiß es leider nicht. 我不知道。 Не знаю. لا أعرف",
    "The committee weighed cost against safety, and after a long debate it chose the slower and safer plan. " * 20,
    "!!! ??? ...",
)

Encode = Callable[[Sequence[str]], Array]


class Way(NamedTuple):
    """How a model computes."""

    backend: str
    precision: str


REFERENCE = Way("torch", "float32")


@dataclass(frozen=True)
class Probed:
    """What a probe found.

    Attributes:
        best: what to use.
        seconds: of the probe's texts in each way, the best of some rounds.
        cosine: of each way, the least with the vectors of torch in float32.
    """

    best: Way
    seconds: Mapping[Way, float]
    cosine: Mapping[Way, float]

    @property
    def texts_per_second(self) -> dict[Way, float]:
        """Of the probe's texts, by way."""
        return {way: len(PROBES) / max(seconds, 1e-9) for way, seconds in self.seconds.items()}

    def as_json(self) -> str:
        """Return all of it as a string that `read` understands."""
        rows = [[*way, self.seconds[way], self.cosine[way]] for way in self.seconds]
        return json.dumps({"best": self.best, "ways": rows})

    @classmethod
    def read(cls, text: str) -> Probed:
        """Return what `as_json` wrote."""
        said = json.loads(text)
        ways = {Way(backend, precision): (seconds, cosine) for backend, precision, seconds, cosine in said["ways"]}
        return cls(Way(*said["best"]), {w: v[0] for w, v in ways.items()}, {w: v[1] for w, v in ways.items()})


def measure(models: Mapping[Way, Encode], *, clock: Callable[[], float] = time.perf_counter) -> Probed:
    """Time every way in turns, and choose the fastest that agrees with the reference, which must be among them."""
    first = models[REFERENCE](PROBES)
    cosine = {way: _least_cosine(first, encode(PROBES)) for way, encode in models.items()}
    seconds = dict.fromkeys(models, np.inf)
    for _ in range(ROUNDS):
        for way, encode in models.items():
            start = clock()
            encode(PROBES)
            seconds[way] = min(seconds[way], clock() - start)
    agree = [way for way in models if cosine[way] >= COSINE_FLOOR]
    best = min(agree, key=seconds.__getitem__, default=REFERENCE)
    if seconds[best] * GAIN > seconds[REFERENCE]:
        best = REFERENCE
    return Probed(best, seconds, cosine)


def question(content: str, options: Sequence[object], ways: Sequence[Way]) -> str:
    """Return what a measurement is remembered under: the model, what it may use, and the machine."""
    machine = [processor(), cores(), importlib.metadata.version("torch")]
    return json.dumps(["fastest", content, list(options), ways, machine])


def _least_cosine(x: Array, y: Array) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    same = np.where(norms > 0, (x * y).sum(axis=1) / np.where(norms > 0, norms, 1), (x == y).all(axis=1))
    return float(np.nan_to_num(same, nan=-1).min())
