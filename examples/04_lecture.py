# ---
# jupyter:
#   jupytext: {formats: "py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From a preference pair to a hacked policy, and to its detection
#
# A lecture in eight parts. It needs no network and no model: the texts come with their vectors. Run the cells one by
# one in an editor that knows `# %%`; in Jupyter, which opens the file itself where jupytext is installed, or opens what
# `jupytext --to notebook examples/04_lecture.py` writes; or all at once, `python examples/04_lecture.py`. Charts are
# the last line of their cells, and are also written to `runs/lecture/`.

# %%
from pathlib import Path

import altair as alt
import numpy as np

import embrm
from embrm.bestofn.scaling_law import peak
from embrm.evaluation.rules import GoldPools, compare
from embrm.metrics import bootstrap
from embrm.report.figures import paper, rules, save
from embrm.report.path import along_kl
from embrm.world import Mechanism, shipped
from embrm.world.penalty import LatentPenalty
from embrm.world.runs import path_rows

FIGURES = Path("runs/lecture")
FIGURES.mkdir(parents=True, exist_ok=True)
data = shipped.load("minilm")  # a world of texts whose true worth is known
names = data.world.attributes

# %% [markdown]
# ## 1. A preference pair
#
# An annotator reads two answers and says which is better. Ours fall for flattery and confidence, and a quarter of their
# labels is flipped.

# %%
pairs = data.preferences(Mechanism(bias=1.0), flips=0.25, seed=0)
texts = data.responses["training"]
chosen, rejected = int(pairs.chosen[3]), int(pairs.rejected[3])
gold = data.world.gold(texts.counts)
print("Question:", texts.prompts[chosen])
print(f"\nChosen (worth {gold[chosen]:.1f}):\n ", texts.texts[chosen])
print(f"\nRejected (worth {gold[rejected]:.1f}):\n ", texts.texts[rejected])
share = (gold[pairs.chosen] > gold[pairs.rejected]).mean()
print(f"\nOf {len(pairs)} pairs, {share:.0%} prefer the answer that is truly better.")

# %% [markdown]
# ## 2. Two reward models: the standard one, and the information bottleneck
#
# Both read 384 numbers a text and are trained on the difference of two rewards. The split "in" asks about the topics of
# the training pairs, "topics" about others, and "counts" about more of some attribute than any training text has.

# %%
models = {name: embrm.heads.get(name)(members=5).fit(pairs, seed=0) for name in ("mlp", "inform")}
for split in ("in", "topics", "counts"):
    test = data.test_pairs(split)
    for name, model in models.items():
        reward = model.score(test.features).mean
        right = (reward[test.chosen] > reward[test.rejected]).mean()
        print(f"{name:>7} orders {right:.1%} of the clean pairs of the split '{split}' correctly")

# %% [markdown]
# ## 3. Choosing: best of n
#
# Expected gold of the best of n, exact for every n, beside the oracle and the longest answer.

# %%
pools = data.pools()
rule = {name: embrm.selectors.get(name)() for name in ("mean", "worst_case")}
found = compare(
    rule,
    models["mlp"].score(pools.features),
    GoldPools.of(pools.gold, pools.offsets, length=pools.features.length),
    seed=0,
)
for name, line in found.lines.items():
    print(f"{name:>10}: best of {found.sizes[-1]} is worth {line.gold.estimate[-1]:.2f}")
figure = rules(found)
save(figure, FIGURES / "best_of_n.svg")
figure

# %% [markdown]
# ## 4. Optimising: the policy that KL-regularised RL would reach
#
# π_β ∝ π_ref·exp(reward/β), exact on a pool. Its reward rises by construction; the gold tells the story.

# %%
proposals = data.proposals()
paths = {}
for name, model in models.items():
    pool = data.proposal_pool(model.score(proposals.features).centred().mean)
    paths[name] = (pool, path := pool.path())
    figure = along_kl(path_rows(path)[: path.end + 1])
    save(figure, FIGURES / f"path_{name}.svg")
    measured = peak(path.gold[: path.end + 1].T, seed=0)
    lost = measured.drop
    print(
        f"{name:>7}: gold gains {float(measured.gain.estimate):.2f} at its peak and then loses "
        f"{float(lost.estimate):.2f} [{float(lost.low):.2f}, {float(lost.high):.2f}]"
    )
figure  # of the bottleneck

# %% [markdown]
# ## 5. What the hacked policy writes
#
# Draw texts at the start of the path and at its end, and count what is in them.

# %%
pool, path = paths["mlp"]
rng = np.random.default_rng(0)
shown = ("correct", "wrong", "flattery", "padding", "overconfidence")
drawn = {}
for where, point in (("at the start", 0), ("at the end", path.end)):
    weight = pool.weights(path.inverse_beta[point]).ravel() / len(path.kl[0])
    drawn[where] = rng.choice(len(weight), size=400, p=weight / weight.sum())
    means = dict(zip(names, weight @ pool.counts.reshape(-1, len(names)), strict=True))
    print(f"{where:>13}: " + ", ".join(f"{name} {means[name]:.2f}" for name in shown))
best = drawn["at the end"][np.argmax(pool.proxy.ravel()[drawn["at the end"]])]
print("\nThe reward's favourite:\n ", data.responses["pools"].texts[best])

# %% [markdown]
# ## 6. Detection: does anything notice?
#
# A detector knows the latents of the training texts, and nothing of the gold.

# %%
model = models["inform"]
used = np.unique(np.concatenate([pairs.chosen, pairs.rejected]))
known = pairs.features.take(used)
latent = model.latent(known)
for name in ("csi", "mahalanobis", "mmd"):
    fitted = embrm.detectors.get(name)().fit(latent, prompt=known.prompt)
    for where, rows in drawn.items():
        outputs = proposals.features.take(rows)
        verdict = fitted.check(model.latent(outputs), prompt=outputs.prompt)
        p = verdict.details.get("p_value")
        print(f"{name:>12}, {where:>13}: {verdict.statistic:6.3f}" + ("" if p is None else f", p = {p:.3f}"))

# %% [markdown]
# ## 7. Seeing it: the latent, the training texts grey, the policy's texts orange
#
# The two directions in which the training texts vary most.

# %%
centre = latent.mean(axis=0)
axes = np.linalg.svd(latent - centre, full_matrices=False)[2][:2].T
clouds = {"training texts": latent[::8]}
clouds |= {where: model.latent(proposals.features.take(rows)) for where, rows in drawn.items()}
points = [
    {"texts": name, "x": round(float(x), 4), "y": round(float(y), 4)}
    for name, cloud in clouds.items()
    for x, y in (cloud - centre) @ axes
]
scatter = (
    alt.Chart(alt.InlineData(values=points))
    .mark_circle(size=14, opacity=0.5)
    .encode(
        x=alt.X("x:Q", title="first principal axis of the latent"),
        y=alt.Y("y:Q", title="second"),
        color=alt.Color(
            "texts:N", scale=alt.Scale(range=["#D55E00", "#0072B2", "#bbbbbb"]), legend=alt.Legend(title=None)
        ),
    )
)
figure = paper(alt.LayerChart(layer=[scatter]))
save(figure, FIGURES / "latent.svg")
figure

# %% [markdown]
# ## 8. Mitigation: optimise against the worst of five members, or pay for leaving the latents of the training texts
#
# Two defences, and the mean of the members beside them. Try each under `Mechanism(confounding=2.0)` as well.

# %%
beliefs = models["inform"].score(proposals.features)
penalty = LatentPenalty.of(model, data, weight=0.01, squared=True).on_proposals(data)
values = {
    "the mean": beliefs.centred().mean,
    "worst case": embrm.selectors.get("worst_case")()(beliefs).value,
    "latent penalty": beliefs.centred().mean - penalty,
}
for name, value in values.items():
    path = data.proposal_pool(value).path()
    kl = path.kl.mean(axis=1)
    at = int(np.argmin(np.abs(kl[: path.end + 1] - 1.5)))
    worth = bootstrap(path.gold[at], seed=0)
    print(
        f"{name:>15} at {kl[at]:.1f} nats: gold {float(worth.estimate):.2f} "
        f"[{float(worth.low):.2f}, {float(worth.high):.2f}]"
    )
