"""How fast texts become vectors: bfloat16 and float32, token means and MiniLM, a full cache and an empty one.

    python benchmarks/embedding.py

Everything is timed in one run, the two sides of a ratio in turns, and the best round of each side counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from timing import best

from embrm.embedders.minilm import MiniLM

ROUNDS = 5
WORDS = (
    "the a my old new morning river recipe answer question committee neighbour teacher bridge moon quickly slowly "
    "never often explains repairs remembers describes avoids improves because without with after before honest long"
)


def sentences(count: int, *, words: int, seed: int) -> list[str]:
    """Return different texts of the given number of words."""
    drawn = np.random.default_rng(seed).choice(WORDS.split(), size=(count, words))
    return [" ".join(row) + "." for row in drawn.tolist()]


def precision() -> list[tuple[str, str, str, str]]:
    """Compare the two precisions on texts of three lengths."""
    out = []
    for name, count, words in (
        ("short (9 words)", 512, 9),
        ("medium (45 words)", 256, 45),
        ("long (300 words)", 64, 300),
    ):
        texts = sentences(count, words=words, seed=0)
        recipes = [MiniLM(precision=precision) for precision in ("float32", "bfloat16")]
        models = [recipe.load(recipe.way()) for recipe in recipes]
        float32, bfloat16 = best(*(partial(model.encode, texts, batch_size=32) for model in models), rounds=ROUNDS)
        rates = f"{count / float32:.0f} texts/s", f"{count / bfloat16:.0f} texts/s"
        out.append((f"minilm, {name}: float32 → bfloat16", *rates, f"{float32 / bfloat16:.2f} ×"))
    return out


def static() -> list[tuple[str, str, str, str]]:
    """Compare MiniLM, in the way that its own measurement chose, with the static embedder, neither from the cache."""
    from embrm.embedders.minilm import MiniLM
    from embrm.embedders.static import Static

    texts = sentences(256, words=60, seed=2)
    minilm = MiniLM()
    model = minilm.load(minilm.way())
    quick_model = Static()
    slow, quick = best(
        lambda: model.encode(texts, batch_size=32), lambda: list(quick_model.compute(texts)), rounds=ROUNDS
    )
    rates = f"{len(texts) / slow:.0f} texts/s", f"{len(texts) / quick:.0f} texts/s"
    return [(f"60 words: minilm in {minilm.way().precision} → static", *rates, f"{slow / quick:.0f} ×")]


def process(file: Path, folder: str, embedder: str) -> float:
    """Return the seconds that a new process needs to embed a file of texts."""
    code = (
        "import json, sys; from pathlib import Path; from embrm.embedders import get\n"
        "get(sys.argv[2])().embed(json.loads(Path(sys.argv[1]).read_text()))"
    )
    variables = {**os.environ, "EMBRM_CACHE": folder}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(file), embedder], check=True, env=variables)
    return time.perf_counter() - start


def cache() -> list[tuple[str, str, str, str]]:
    """Compare an empty cache with a full one, whole processes, and time a large read."""
    from embrm.embedders.cache.shards import ShardRows
    from embrm.embedders.cache.store import VectorStore, text_key

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(sentences(2000, words=45, seed=1)))
        times = {}
        for name in ("minilm", "static"):
            first = process(file, folder, name)
            times[name] = first, min(process(file, folder, name) for _ in range(ROUNDS))
        os.environ["EMBRM_CACHE"] = folder
        keys = [text_key(str(i).encode()) for i in range(24_000)]
        vectors = np.random.default_rng(0).normal(size=(len(keys), 384)).astype(np.float32)
        with VectorStore("benchmark").writer() as write:
            for i in range(0, len(keys), 32):
                write(ShardRows(keys[i : i + 32], vectors[i : i + 32], np.zeros(len(keys[i : i + 32]), dtype=bool)))
        [read] = best(lambda: VectorStore("benchmark").read(keys), rounds=ROUNDS)
    return [
        *(
            (
                f"2 000 texts, {name}, whole process: empty cache → full cache",
                f"{first:.2f} s",
                f"{second:.2f} s",
                f"{first / second:.0f} ×",
            )
            for name, (first, second) in times.items()
        ),
        ("read 24 000 × 384 from the cache", "", f"{read:.3f} s", ""),
    ]


def main() -> None:
    """Print the table."""
    print("| what | before | after | ratio |\n|---|--:|--:|--:|")
    for row in precision() + static() + cache():
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
