"""What the detectors do on real outputs, and what they cost.

    python benchmarks/detectors.py levels POOL     share of clean and of moved rows that is flagged, and NullModel's
    python benchmarks/detectors.py systems POOL    each system in turn the policy: where NullModel ranks
    python benchmarks/detectors.py cost [--umap]   CPU seconds, growth and memory of CSI and MOP, clean and collapsed
    python benchmarks/detectors.py umap POOL       the released MOP's share of clean rows (needs the extra umap)

POOL is a folder with AlpacaEval's outputs: candidates.jsonl.gz (id, prompt, responses, policy, gold by row),
minilm.f16.npy (prompts, systems, 384) of prompt and response together and minilm.responses.f16.npy of responses alone.
A bottleneck head is trained on 300 prompts, without the system NullModel, which answers everything with one string
that fools the judge; everything is measured on the other 100.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import embrm.detectors
import embrm.heads
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs

TRAINING, PAIRS, FLIPS, NULL = 300, 10, 0.25, "NullModel"


@dataclass(frozen=True, eq=False)
class Pool:
    """Held-out outputs in several spaces, `(prompts, systems, k)` each, NullModel at `null`."""

    spaces: dict[str, Array]
    null: int

    @property
    def others(self) -> IntArray:
        """All systems but NullModel."""
        systems = next(iter(self.spaces.values())).shape[1]
        return np.delete(np.arange(systems), self.null)


def training_pairs(x: Array, gold: Array, rng: np.random.Generator) -> Pairs:
    """Draw pairs of outputs of one prompt that differ in gold; a share of them is flipped."""
    chosen, rejected = [], []
    for p, g in enumerate(gold):
        i, j = (rng.integers(len(g), size=20 * PAIRS) for _ in range(2))
        i, j = (side[g[i] > g[j]][:PAIRS] + p * len(g) for side in (i, j))
        flip = rng.random(len(i)) < FLIPS
        chosen.append(np.where(flip, j, i))
        rejected.append(np.where(flip, i, j))
    prompt = np.repeat(np.arange(len(x)), x.shape[1])
    rows = x.reshape(-1, x.shape[-1])
    return Pairs.from_arrays(rows, chosen=np.concatenate(chosen), rejected=np.concatenate(rejected), prompt=prompt)


def load(folder: Path, *, seed: int = 0) -> Pool:
    """Read the pool, train the head, and return the held-out outputs in every space."""
    with gzip.open(folder / "candidates.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    joint, responses = (np.load(folder / f"minilm{x}.f16.npy").astype(np.float32) for x in ("", ".responses"))
    gold = np.array([row["gold"] for row in rows])
    null = rows[0]["policy"].index(NULL)
    others = np.delete(np.arange(joint.shape[1]), null)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    train, held = order[:TRAINING], order[TRAINING:]
    pairs = training_pairs(joint[train][:, others], gold[train][:, others], rng)
    model = embrm.heads.get("inform")(members=5).fit(pairs, seed=seed)

    def pca(x: Array) -> Array:
        usual = x[train][:, others].reshape(-1, x.shape[-1])
        axes = np.linalg.eigh(np.cov(usual.T))[1][:, -32:]
        return np.asarray((x[held] - usual.mean(axis=0)) @ axes)

    flat, shape = joint[held].reshape(-1, joint.shape[-1]), (len(held), joint.shape[1], -1)
    spaces = {
        "latents": model.latent(flat).reshape(shape),
        "joint": joint[held],
        "responses": responses[held],
        "pca of joint": pca(joint),
        "pca of responses": pca(responses),
        "disagreement": model.score(flat).centred().sd.reshape(shape),
        "length": np.array([[len(text) for text in rows[i]["responses"]] for i in held], dtype=float)[..., None],
    }
    return Pool(spaces, null)


def flagged_shares(pool: Pool, space: str, name: str, *, splits: int) -> tuple[Array, Array]:
    """Return the shares of clean and of NullModel's rows flagged, `(splits,)`, in random splits by prompt."""
    x, shares = pool.spaces[space], []
    prompt = np.repeat(np.arange(len(x)), len(pool.others)).reshape(len(x), -1)
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(x))
        a, b = order[: len(x) // 2], order[len(x) // 2 :]
        clean = x[:, pool.others]
        fitted = embrm.detectors.get(name)().fit(clean[a].reshape(-1, x.shape[-1]), prompt=prompt[a].ravel(), seed=seed)
        shares.append(
            [fitted.check(rows.reshape(-1, x.shape[-1])).flagged_fraction for rows in (clean[b], x[b, pool.null])]
        )
    clean_share, null_share = np.array(shares, dtype=float).T
    return clean_share, null_share


def moved_share(pool: Pool, space: str, name: str, *, splits: int) -> Array:
    """Return the share flagged of clean rows moved by 8 reference standard deviations along a random direction."""
    x, shares = pool.spaces[space][:, pool.others], []
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(x))
        reference, rows = (x[part].reshape(-1, x.shape[-1]) for part in np.split(order, 2))
        direction = rng.normal(size=(x.shape[-1],))
        direction = direction / np.linalg.norm(direction)
        moved = rows + 8 * (reference @ direction).std() * direction
        prompt = np.repeat(np.arange(len(order) // 2), x.shape[1])
        fitted = embrm.detectors.get(name)().fit(reference, prompt=prompt, seed=seed)
        shares.append(fitted.check(moved).flagged_fraction)
    return np.array(shares)


def levels(pool: Pool, *, splits: int) -> None:
    """Print the shares flagged at alpha = 0.05 (the calibrated MOP flags the rows that mahalanobis flags)."""
    print("detector     space              clean %, its error, 5th..95th of splits    NullModel %   moved 8 sd %")
    for space in ("latents", "joint", "responses", "pca of joint", "pca of responses"):
        wide = pool.spaces[space].shape[-1] > 32
        for name, share in (("mahalanobis", 4 if wide else 1), ("neighbours", 4 if wide else 1), ("caution", 20)):
            count = max(splits // share, 5)
            clean, null = flagged_shares(pool, space, name, splits=count)
            low, high = np.percentile(100 * clean, [5, 95])
            moved = 100 * moved_share(pool, space, name, splits=min(40, count)).mean()
            error = 100 * clean.std(ddof=1) / count**0.5
            print(
                f"{name:12} {space:18} {100 * clean.mean():5.2f} ± {error:4.2f} ({low:.1f}..{high:.1f}), {count} splits"
                f"   {100 * null.mean():6.1f}   {moved:6.1f}",
                flush=True,
            )
    for space in ("disagreement", "length"):
        clean, null = flagged_shares(pool, space, "conformal", splits=splits)
        error = 100 * clean.std(ddof=1) / splits**0.5
        print(
            f"conformal    {space:18} {100 * clean.mean():5.2f} ± {error:4.2f}   {100 * null.mean():6.1f}", flush=True
        )


def systems(pool: Pool) -> None:
    """Print NullModel's rank among all systems by each detector's statistic, each system in turn the policy.

    Once with the reference's outputs answering other prompts than the policy's, once the same.
    """
    names = ["mahalanobis", "mop", "neighbours", "caution", "csi", "dispersion", "mmd"]
    print("prompts   detector     space              rank of NullModel   its statistic   the others' 5th..95th")
    for prompts in ("other", "same"):
        for space, x in pool.spaces.items():
            for name in names if x.shape[-1] > 1 else ["conformal"]:
                statistic = np.array([one_system(x, s, name, same=prompts == "same") for s in range(x.shape[1])])
                rank = 1 + int((statistic > statistic[pool.null]).sum())
                low, high = np.percentile(statistic[pool.others], [5, 95])
                print(
                    f"{prompts:9} {name:12} {space:18} {rank:5d} {statistic[pool.null]:24.4f} {low:14.4f}..{high:.4f}",
                    flush=True,
                )


def one_system(x: Array, policy: int, name: str, *, same: bool, reference_systems: int = 20) -> float:
    """Return the statistic of one system's outputs against those of some others, by halves of the prompts."""
    prompts, count, width = x.shape
    rng = np.random.default_rng(policy)
    others = np.delete(np.arange(count), policy)
    chosen = np.stack([rng.permutation(others)[:reference_systems] for _ in range(prompts)])
    reference = x[np.arange(prompts)[:, None], chosen]
    halves = np.array_split(np.random.default_rng(0).permutation(prompts), 2)
    statistics = []
    for known, asked in [(np.arange(prompts),) * 2] if same else [(halves[0], halves[1]), (halves[1], halves[0])]:
        fitted = embrm.detectors.get(name)().fit(
            reference[known].reshape(-1, width), prompt=np.repeat(known, reference_systems), seed=0
        )
        statistics.append(fitted.check(x[asked, policy], prompt=asked).statistic)
    return float(np.mean(statistics))


def cost(*, umap: bool) -> None:
    """Print CPU seconds (all threads) at three sizes, the exponent of growth, and the peak of memory so far."""
    runs: list[tuple[str, dict[str, Any]]] = [("csi", {}), ("mop", {})] + [("mop", {"method": "umap"})] * umap
    sizes = (5_000, 10_000, 20_000)
    print(
        "detector            outputs      CPU seconds at "
        + ", ".join(map(str, sizes))
        + "   exponent   peak GiB so far"
    )
    for name, options in runs:
        for kind, spread in (("clean", 1.0), ("nearly equal", 1e-3), ("equal", 0.0)):
            seconds = []
            for n in sizes:
                rng = np.random.default_rng(0)
                reference = rng.normal(size=(n, 128)).astype(np.float32)
                outputs = ((spread < 1) + spread * rng.normal(size=(n, 128))).astype(np.float32)
                start = time.process_time()
                embrm.detectors.get(name)(**options).fit(reference).check(outputs)
                seconds.append(time.process_time() - start)
            exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            label = f"{name} {options.get('method', '')}"
            print(
                f"{label:19} {kind:12} " + ", ".join(f"{s:7.2f}" for s in seconds) + f"   {exponent:5.2f}   {peak:.2f}",
                flush=True,
            )


def released_mop(pool: Pool, *, splits: int) -> None:
    """Print the share of clean rows that the released MOP flags, on Gaussian rows and on the pool."""
    print("rows                     reference   flagged at nominal 1 %   at 5 %")
    for kind in ("gaussian 128", "latents", "responses"):
        for n in (200, 2000):
            shares = []
            for seed in range(splits):
                rng = np.random.default_rng(seed)
                if kind.startswith("gaussian"):
                    reference, clean = rng.normal(size=(n, 128)), rng.normal(size=(200, 128))
                else:
                    x = pool.spaces[kind][rng.permutation(100)][:, pool.others]
                    reference, clean = (rng.permutation(part.reshape(-1, x.shape[-1])) for part in (x[:50], x[50:]))
                verdict = embrm.detectors.get("mop")(method="umap").fit(reference[:n], seed=seed).check(clean[:200])
                assert verdict.p_values is not None
                shares.append([np.mean(verdict.p_values <= a) for a in (0.01, 0.05)])
            one, five = 100 * np.mean(shares, axis=0)
            print(f"{kind:24} {n:9d}   {one:6.1f}   {five:6.1f}", flush=True)


def main() -> None:
    """Read the command line and run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["levels", "systems", "cost", "umap"])
    parser.add_argument("pool", type=Path, nargs="?", help="folder of the pool")
    parser.add_argument("--splits", type=int, help="random splits (400; umap: 5)")
    parser.add_argument("--umap", action="store_true", help="cost: time the released MOP too")
    arguments = parser.parse_args()
    if arguments.part == "cost":
        cost(umap=arguments.umap)
        return
    if arguments.pool is None:
        parser.error(f"{arguments.part} needs the folder of the pool")
    pool = load(arguments.pool)
    if arguments.part == "levels":
        levels(pool, splits=arguments.splits or 400)
    elif arguments.part == "systems":
        systems(pool)
    else:
        released_mop(pool, splits=arguments.splits or 5)


if __name__ == "__main__":
    main()
