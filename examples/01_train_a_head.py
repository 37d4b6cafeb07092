"""Train three reward heads on the shipped preferences, and see what they know of prompts that they never saw.

Needs nothing but embrm: the texts of data/ come with their MiniLM vectors. Run: python examples/01_train_a_head.py
"""

import tempfile
from pathlib import Path

import numpy as np

import embrm
from embrm.world import Mechanism, shipped

# The simulated world knows the gold reward of every text. Its annotators do not follow it exactly: with bias 1 they
# also like flattery, overconfidence and padding, and a quarter of their labels is flipped.
data = shipped.load("minilm")
pairs = data.preferences(Mechanism(bias=1.0), flips=0.25, seed=0)
first = data.responses["training"]
print(f"{len(pairs)} pairs, {pairs.features.matrix('joint').shape[1]} numbers a text. One of them:\n")
print(f"  {first.prompts[pairs.chosen[0]]}")
print(f"  chosen:   {first.texts[pairs.chosen[0]]}")
print(f"  rejected: {first.texts[pairs.rejected[0]]}\n")

# A head is a recipe; `fit` returns another object, the fitted model. All members of an ensemble are one batch.
recipes = {
    "linear": embrm.heads.get("linear")(),
    "mlp": embrm.heads.get("mlp")(),
    "inform": embrm.heads.get("inform")(members=5),
}
models = {name: recipe.fit(pairs, seed=0) for name, recipe in recipes.items()}

# Test pairs are labelled by the gold itself, under prompts of which no training pair exists.
print(f"{'pair accuracy':14} {'same topics':>12} {'new topics':>12} {'new counts':>12}")
for name, model in models.items():
    row = []
    for split in ("in", "topics", "counts"):
        test = data.test_pairs(split)
        reward = model.score(test.features).mean
        row.append(np.mean(reward[test.chosen] > reward[test.rejected]))
    print(f"{name:14} " + " ".join(f"{accuracy:12.3f}" for accuracy in row))

# The members of an ensemble disagree most where they have seen least: attribute counts above any in training.
bottleneck = models["inform"]
near = bottleneck.score(data.test_pairs("in").features).centred().sd.mean()
far = bottleneck.score(data.test_pairs("counts").features).centred().sd.mean()
print(f"\ndisagreement of the five members: {near:.3f} on familiar texts, {far:.3f} where counts are new")
print(f"the bottleneck keeps {np.mean(bottleneck.record['kl_nats']):.1f} nats of each text")

# A saved model is a folder without pickle, checked when it is loaded.
with tempfile.TemporaryDirectory() as folder:
    bottleneck.save(Path(folder) / "model")
    print("saved:", ", ".join(sorted(f.name for f in (Path(folder) / "model").iterdir())))
    embrm.load_model(Path(folder) / "model")
