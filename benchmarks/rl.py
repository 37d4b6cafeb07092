"""REINFORCE of 200 steps × 64 texts on the static embedder: the whole command, and a step's parts.

    python benchmarks/rl.py

The target is 20 s for the command, its start, the head's training and the figure included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np

from embrm import embedders
from embrm.data.encode import encode
from embrm.heads import load_model
from embrm.policies.grammar import GrammarPolicy
from embrm.world import World

STEPS, BATCH, ROUNDS = 200, 64, 20


def main() -> None:
    """Print the seconds of the command, and milliseconds of texts, vectors and rewards of one step."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        begin = time.perf_counter()
        words = f"rl --head mlp --bias 1 --steps {STEPS} --batch {BATCH} --quiet -o {folder}".split()
        code = "import sys; from embrm.cli import run; sys.exit(run(sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)
        used = getrusage(RUSAGE_CHILDREN)
        wall, cpu = time.perf_counter() - begin, used.ru_utime + used.ru_stime
        print(
            f"embrm rl, {STEPS} steps × {BATCH}: {wall:.1f} s, {cpu:.1f} s of CPU, {cpu / 20:.2f} × the target of 20 s"
        )
        model = load_model(folder / "head")
    world, embedder, rng = World.load(), embedders.get("static")().fleeting, np.random.default_rng(0)
    policy, times = GrammarPolicy.from_probabilities(world.reference), np.zeros((ROUNDS, 3))
    for i in range(ROUNDS):
        start = time.process_time()
        prompts, texts = world.write(policy.sample(BATCH, rng=rng), rng=rng)
        written = time.process_time()
        features = encode(prompts, texts, embedder=embedder).features
        embedded = time.process_time()
        model.score(features)
        times[i] = np.diff([start, written, embedded, time.process_time()])
    parts = zip(("texts", "vectors", "rewards"), 1e3 * np.median(times, axis=0), strict=True)
    print("a step, ms of CPU: " + ", ".join(f"{name} {ms:.1f}" for name, ms in parts))


if __name__ == "__main__":
    main()
