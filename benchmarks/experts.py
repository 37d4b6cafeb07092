"""A mixture of experts whose gate reads the prompt, beside one network of equal size on the same vectors.

    python benchmarks/experts.py POOL    # a folder with an AlpacaEval candidate pool, see benchmarks/README.md

All read MiniLM's vector of prompt and response together, and where it is said beside it that of the prompt. The step
size of each is the best of three on validation prompts of each seed. Splits, pairs and intervals are those of
`heads.py`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from heads import SEEDS, interval, shown, split_alpacaeval, split_world, world  # the benchmark beside this one

from embrm import Features, Pairs, embedders
from embrm.core.arrays import Array
from embrm.heads import Head, get
from embrm.training.tuning import tune

RECIPES = {
    "one network, joint": get("mlp")(hidden=(128,)),
    "experts, joint": get("experts")(),
    "one network, prompt+joint": get("mlp")(hidden=(128,), view="prompt+joint"),
    "experts, prompt+joint": get("experts")(view="prompt+joint"),
}


def with_prompts(pairs: Pairs, prompts: list[str]) -> Pairs:
    """Add the vectors of the prompts, one a row of the features."""
    texts = sorted(set(prompts))
    vectors = embedders.get("minilm")().embed(texts).vectors
    place = {text: i for i, text in enumerate(texts)}
    rows = vectors[[place[prompt] for prompt in prompts]]
    features = pairs.features
    return replace(pairs, features=Features({**features.views, "prompt": rows}, prompt=features.prompt))


def split(folder: Path | None, seed: int) -> list[Pairs]:
    """Return training and test pairs with prompts: of the pool in a folder, or of the shipped world."""
    found = split_world(seed) if folder is None else split_alpacaeval(folder, seed)
    if folder is None:
        of = [world().responses[name].prompts for name in ("training", "pools")]
        return [
            with_prompts(p.compact(), [t[i] for i in p.rows])
            for p, t in zip((found.train, found.test), of, strict=True)
        ]
    with gzip.open(folder / "candidates.jsonl.gz", "rt") as file:
        prompts = [json.loads(line)["prompt"] for line in file]
    parts = [pairs.compact() for pairs in (found.train, found.test)]
    return [with_prompts(pairs, [prompts[p] for p in pairs.features.prompt]) for pairs in parts]


def hits(head: Head, train: Pairs, test: Pairs, seed: int) -> Array:
    """Return the share of test pairs in the right order, by prompt."""
    best = tune(head, train, budget=3, seed=seed, splits=1, fixed={"weight_decay", "hidden", "experts"}).best
    mean = best.fit(train, seed=seed).score(test.features).mean
    prompt = np.unique(test.prompt, return_inverse=True)[1]
    right = 0.5 + 0.5 * np.sign(mean[test.chosen] - mean[test.rejected])
    return np.bincount(prompt, weights=right) / np.bincount(prompt)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path, metavar="POOL", help="folder of an AlpacaEval candidate pool")
    pool = parser.parse_args().pool
    warnings.simplefilter("ignore")
    for title, folder in (("AlpacaEval pool", pool), ("World, topics held out", None)):
        splits = [split(folder, seed) for seed in range(SEEDS)]
        found = {
            name: [hits(head, train, test, seed) for seed, (train, test) in enumerate(splits)]
            for name, head in RECIPES.items()
        }
        print(f"\n### {title}\n\n| head, view | pair accuracy | experts − one network |\n|---|---|---|")
        for name, of in found.items():
            one = found[name.replace("experts", "one network")]
            ahead = "" if of is one else shown(interval([a - b for a, b in zip(of, one, strict=True)]))
            print(f"| {name} | {shown(interval(of))} | {ahead} |", flush=True)


if __name__ == "__main__":
    main()
