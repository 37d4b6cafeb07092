"""Push a policy along a learned reward, watch the gold reward turn, and see a detector notice.

Run: python examples/03_watch_it_being_hacked.py
"""

import numpy as np

import embrm
from embrm.world import Mechanism, shipped

data = shipped.load("minilm")
pairs = data.preferences(Mechanism(bias=1.0), flips=0.25, seed=0)  # annotators who fall for flattery and confidence
model = embrm.heads.get("mlp")().fit(pairs, seed=0)

# The policy that KL-regularised RL would reach at each strength β is π_ref·exp(reward/β): on a pool of texts it is
# exact. As β falls the policy trusts the reward more.
proposals = data.proposals()
pool = data.proposal_pool(model.score(proposals.features).mean)
path = pool.path()
kl, proxy, gold = path.kl.mean(axis=1), path.proxy.mean(axis=1), path.gold.mean(axis=1)

# The detector knows the latents of the training texts and nothing else. It asks whether the policy's texts, as a set,
# could have been drawn from among them (kernel two-sample test).
used = np.unique(np.concatenate([pairs.chosen, pairs.rejected]))
detector = embrm.detectors.get("mmd")().fit(model.latent(pairs.features.take(used)), prompt=pairs.features.prompt[used])
rng = np.random.default_rng(0)
attributes = data.world.attributes
counts = pool.counts.reshape(-1, len(attributes))

print(f"{'KL':>6} {'proxy':>7} {'gold':>7} {'p-value':>8} {'correct':>8} {'flattery':>9} {'overconfidence':>15}")
drawn = {}
for point in np.unique(np.linspace(0, path.end, 12).astype(int)):
    weights = pool.weights(path.inverse_beta[point]).ravel() / len(path.kl[0])
    rows = rng.choice(len(weights), size=400, p=weights / weights.sum())
    outputs = proposals.features.take(rows)
    verdict = detector.check(model.latent(outputs), prompt=outputs.prompt)
    means = dict(zip(attributes, weights @ counts, strict=True))
    print(
        f"{kl[point]:6.2f} {proxy[point]:7.2f} {gold[point]:7.2f} {verdict.details['p_value']:8.3f} "
        f"{means['correct']:8.2f} {means['flattery']:9.2f} {means['overconfidence']:15.2f}"
    )
    drawn[point] = rows

top = int(gold[: path.end + 1].argmax())
gain, lost = gold[top] - gold[0], gold[top] - gold[path.end]
print(f"\ngold gains {gain:.2f} until {kl[top]:.1f} nats and then loses {lost:.2f} until {kl[path.end]:.1f} nats;")
print("the proxy never stops rising: on its own it cannot tell you. The detector's p-value falls as the policy leaves")
print("the training texts: from there on the reward extrapolates, rightly or wrongly.\n")

# What the policy writes at the end: the text with the highest reward among those drawn there.
end = drawn[path.end]
texts = data.responses["pools"].texts
best = end[np.argmax(pool.proxy.ravel()[end])]
print("A text of the hacked policy:\n ", texts[best])
