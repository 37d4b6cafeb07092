"""Inverse reinforcement learning: the reward that explains how a tuned policy's outputs differ from its base's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Candidates, Features, Pairs
from embrm.core.seen import TextHashes
from embrm.errors import DataError, OptionError
from embrm.heads import FittedHead, Head
from embrm.heads.ensemble import Ensemble, FittedEnsemble


@dataclass(frozen=True, eq=False)
class Inferred:
    """A reward that explains tuned outputs, or the set of those that explain them equally well.

    Attributes:
        model: those that were kept, as the members of one model.
        explained: `(restarts,)` by how many nats each tells a tuned output from a base one better than a coin, on
            held-out prompts; 0 explains nothing, log 2 all.
        error: `(restarts,)` the standard error of that over prompts.
        kept: `(restarts,)` whether a restart is as good as the best, to one standard error of their difference.
        agreement: share of the held-out comparisons that all kept rewards order in one way: how far the outputs
            identify the reward.
        pairs: how many comparisons were learned from.
        held_out: how many were held out.
    """

    model: FittedHead
    explained: Array
    error: Array
    kept: BoolArray
    agreement: float
    pairs: int
    held_out: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, without the model."""
        numbers = {name: getattr(self, name).tolist() for name in ("explained", "error", "kept")}
        return numbers | {"agreement": self.agreement, "pairs": self.pairs, "held_out": self.held_out}


def demonstrations(tuned: Candidates, base: Candidates, *, per_output: int = 4, seed: int) -> Pairs:
    """Return pairs of a tuned and a base output to the same prompt, the tuned one chosen.

    A policy tuned with a KL penalty is π ∝ π_base·exp(r/β) (the tilt). Of a tuned and a base output y, y' to one
    prompt, which is which has by Bayes' rule the odds π(y)π_base(y') : π(y')π_base(y) = exp((r(y) − r(y'))/β), in which
    Z cancels: the Bradley–Terry likelihood of these pairs *is* the maximum-entropy likelihood of the tilt, conditional
    on which two outputs there are, and any head that learns preferences infers r/β, up to a constant a prompt. It
    stays one where the supports of the two samples differ, where Σ log π_base exp(r)/Z over the base's outputs has no
    maximum.

    Args:
        tuned: outputs of the tuned policy.
        base: outputs of its base, sampled alike; the rows of one prompt have one number in both.
        per_output: with how many base outputs of its prompt each tuned one is paired, at most.
        seed: of which.

    Raises:
        DataError: the prompts differ, the views do, or both gave the same outputs to every prompt.
        OptionError: `per_output` is below 1.
    """
    if per_output < 1:
        raise OptionError(f"per_output must be >= 1, got {per_output}")
    asked, known = (set(each.features.prompt.tolist()) for each in (tuned, base))
    if asked != known:
        raise DataError(
            f"tuned and base outputs must answer the same prompts: {len(asked - known)} of {len(asked)} tuned prompts "
            f"have no base output, and {len(known - asked)} of {len(known)} base prompts no tuned one; leave them out "
            "of both, or let both policies answer all"
        )
    features = _joined(tuned.features, base.features)
    kind, first = _kinds(features), len(tuned.features)
    shares = [_shares(kind[side], features.prompt[side], kind.max() + 1) for side in (slice(first), slice(first, None))]
    if np.allclose(shares[0], shares[1]):
        raise DataError(
            "the tuned outputs are the base outputs, prompt by prompt, so that no reward explains a difference; give "
            "the outputs of a policy that was tuned"
        )
    rng = np.random.default_rng(seed)
    of_base: dict[int, list[int]] = {}
    for row in range(first, len(features)):
        of_base.setdefault(int(features.prompt[row]), []).append(row)
    chosen, rejected = [], []
    for row in range(first):
        others = of_base[int(features.prompt[row])]
        met = rng.permutation(others)[:per_output]
        chosen += [row] * len(met)
        rejected += met.tolist()
    w, l = np.array(chosen), np.array(rejected)  # noqa: E741
    apart = kind[w] != kind[l]  # an output that both gave tells nothing
    return Pairs(features, w[apart], l[apart])


def infer(pairs: Pairs, *, head: str | Head = "linear", restarts: int = 5, seed: int) -> Inferred:
    """Return the rewards that explain tuned outputs equally well, as one model.

    Restarts differ in their bootstrap over prompts and in the head's own randomness. The pairs hold the outputs alone,
    so that a reward is identified as far as the outputs of the two policies differ: the rewards kept agree where they
    do, and go apart elsewhere (Joselowitz et al. 2410.12491 find many rewards that explain a tuned model alike).

    Args:
        pairs: of `demonstrations`.
        head: a Bradley–Terry head gives maximum entropy, in nats: a reward higher by 1 is e times as likely; the head
            `max_margin` is the max-margin method of the paper.
        restarts: how many rewards to fit.
        seed: determines the split, the bootstraps and the fits.

    Raises:
        DataError: all pairs are of one prompt.
        OptionError: `restarts` is below 2.
    """
    recipe = Head.of(head)
    if restarts < 2:
        raise OptionError(f"restarts must be >= 2 (equally good rewards are told by several), got {restarts}")
    train, held = pairs.split(0.2, seed=seed)
    fitted = Ensemble(base=recipe, members=restarts, diversity="bootstrap").fit(train, seed=seed)
    assert isinstance(fitted, FittedEnsemble)
    means = [model.score(held.features).mean for model in fitted.models]
    margins = np.array([mean[held.chosen] - mean[held.rejected] for mean in means])
    of_prompt = np.array([_by_prompt(np.log(2) - np.logaddexp(0, -margin), held.prompt) for margin in margins])
    explained = of_prompt.mean(axis=1)
    best = int(explained.argmax())
    behind = of_prompt[best] - of_prompt
    kept = behind.mean(axis=1) <= _error(behind)
    signs = np.sign(margins[kept])
    models = tuple(model for model, good in zip(fitted.models, kept, strict=True) if good)
    reference = np.concatenate([model.reference for model in models])
    record = {"restarts": restarts, "kept": int(kept.sum()), "explained": explained.tolist()}
    return Inferred(
        model=replace(fitted, models=models, reference=reference, record={**fitted.record, "inferred": record}),
        explained=explained,
        error=_error(of_prompt),
        kept=kept,
        agreement=float((signs == signs[0]).all(axis=0).mean()),
        pairs=len(train),
        held_out=len(held),
    )


def _joined(first: Features, second: Features) -> Features:
    """Return the rows of both."""
    if set(first.views) != set(second.views):
        raise DataError(
            f"tuned and base outputs need the same views, got {', '.join(first.views)} and {', '.join(second.views)}"
        )
    return Features(
        {view: np.concatenate([first.matrix(view), second.matrix(view)]) for view in first.views},
        np.concatenate([first.prompt, second.prompt]),
        length=None if first.length is None or second.length is None else np.append(first.length, second.length),
        embedder=first.embedder,
        cluster=None if first.cluster is None or second.cluster is None else np.append(first.cluster, second.cluster),
        hashes=None
        if first.hashes is None or second.hashes is None
        else TextHashes.joined([first.hashes, second.hashes]),
    )


def _kinds(features: Features) -> IntArray:
    """Return a number of each row `(m,)`, the same for rows of one prompt with the same vectors."""
    columns = [features.prompt[:, None].astype(np.float64), *features.views.values()]
    return np.asarray(np.unique(np.concatenate(columns, axis=1), axis=0, return_inverse=True)[1]).ravel()


def _shares(kind: IntArray, prompt: IntArray, kinds: int) -> Array:
    """Return which share of its prompt's outputs each kind of row is, `(kinds,)`."""
    number, counts = np.unique(prompt, return_inverse=True, return_counts=True)[1:]
    share: Array = np.bincount(kind, weights=1 / counts[number], minlength=kinds).astype(np.float64)
    return share


def _by_prompt(values: Array, prompt: IntArray) -> Array:
    number, counts = np.unique(prompt, return_inverse=True, return_counts=True)[1:]
    return np.asarray(np.bincount(number, weights=values) / counts)


def _error(of_prompt: Array) -> Array:
    """Return the standard error `(...)` of a mean over prompts `(..., prompts)`; 0 of a single prompt."""
    n = of_prompt.shape[-1]
    return np.asarray(of_prompt.std(axis=-1, ddof=min(1, n - 1)) / np.sqrt(n))
