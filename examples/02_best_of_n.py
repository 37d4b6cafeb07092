"""Choose the best of n by a learned reward, and see what that is worth in gold: exactly, for every n.

Run: python examples/02_best_of_n.py
"""

import numpy as np

import embrm
from embrm.metrics import bootstrap
from embrm.world import Mechanism, shipped

data = shipped.load("minilm")
pairs = data.preferences(Mechanism(bias=1.0), flips=0.25, pairs=1000, seed=0)
pools = data.pools(data.layout.held_out)  # 128 responses of the reference policy to each prompt, with gold
assert pools.gold is not None
assert pools.features.length is not None
print(f"{len(pools)} prompts, {np.diff(pools.offsets)[0]} responses each\n")

# The curve is an expectation over all ways to draw n of the pool without replacement, from one sort: no Monte Carlo.
sizes = [1, 2, 4, 8, 16, 32, 64, 128]
scorers = {
    "linear": embrm.heads.get("linear")().fit(pairs, seed=0).score(pools.features).mean,
    "mlp": embrm.heads.get("mlp")().fit(pairs, seed=0).score(pools.features).mean,
    "length": pools.features.length,
    "oracle": pools.gold,
}
curves = {name: embrm.bestofn.curve(r, pools.gold, sizes, offsets=pools.offsets) for name, r in scorers.items()}
print(f"{'gold, best of':14}" + "".join(f"{n:>8}" for n in sizes))
for name, curve in curves.items():
    print(f"{name:14}" + "".join(f"{gold:8.2f}" for gold in curve.gold))
print(f"{'KL (nats)':14}" + "".join(f"{kl:8.2f}" for kl in curves["mlp"].kl))

# Comparisons are paired over prompts, and their interval comes from resampling prompts.
difference = curves["linear"].gold_per_prompt[:, -1] - curves["mlp"].gold_per_prompt[:, -1]
found = bootstrap(difference, seed=0)
print(f"\nlinear − mlp at n = 128: {found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")

# Rules that use the disagreement of an ensemble are one line each.
reward = embrm.heads.get("inform")(members=5).fit(pairs, seed=0).score(pools.features)
print("\nfive bottleneck heads, gold of the chosen response:")
for rule, options in [("mean", {}), ("worst_case", {}), ("uncertainty_weighted", {"weight": 0.5})]:
    choice = embrm.selectors.get(rule)(**options)(reward, offsets=pools.offsets)
    print(f"  {rule:22}{np.mean(pools.gold[choice.index]):.3f}")
