"""The same seed gives the same bits with one thread and with two, for every head and every detector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MEASURED = """
import hashlib, warnings
import numpy as np
import torch
from embrm import detectors
from tests.contracts.test_detectors import form, small
from tests.contracts.test_heads import NAMES, reading
from tests.planted import planted

warnings.simplefilter("ignore")

def told(name, *arrays):
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
    print(name, digest, flush=True)

print("threads", torch.get_num_threads())
pairs, _ = planted(prompts=150, responses=8, width=384, pairs=600)
for name in NAMES:
    scored = reading(name, "joint").fit(pairs, seed=0).score(pairs.features)
    told(name, scored.draws)
rng = np.random.default_rng(0)
reference, outputs = rng.normal(size=(600, 96)), rng.normal(size=(200, 96))
for name in detectors.names():
    verdict = detectors.get(name)(**small(name)).fit(form(name)(reference), seed=0).check(form(name)(outputs))
    told(name, verdict.scores, np.float64(verdict.statistic))
"""


def bits(threads: int) -> dict[str, str]:
    limits = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        env=os.environ | limits | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found.pop("threads") == str(threads)
    return found


@pytest.mark.slow
def test_one_thread_and_two_give_the_same_bits() -> None:
    one, two = bits(1), bits(2)
    assert {name for name in one if one[name] != two[name]} == set()
    assert one.keys() == two.keys()
    assert len(one) > 20
