"""Step rewards against logistic regression, aggregates by hand, and search against exhaustive search."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from embrm import Features, Pairs, Problem, heads
from embrm.bestofn import AGGREGATIONS, Aggregation, StepSearch, aggregate, step_probability, trace_reward
from embrm.bestofn.steps import Prefix
from embrm.core.traces import StepPairs, StepTraces
from embrm.errors import DataError, OptionError
from embrm.heads import Head


def planted(*, prompts: int = 60, seed: int = 0) -> StepTraces:
    """Return traces whose steps are right with a logit that is linear in 6 features, with an intercept."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, size=3 * prompts)
    x = rng.normal(size=(sizes.sum(), 6)) * [1, 2, 0.5, 1, 1, 3] + 1.5
    labels = (rng.random(len(x)) < 1 / (1 + np.exp(-(x @ [0.8, -0.5, 1.0, 0, 0, 0.2] - 0.3)))).astype(float)
    labels[rng.random(len(x)) < 0.2] = np.nan
    prompt = np.repeat(np.repeat(np.arange(prompts), 3), sizes)
    return StepTraces(Features({"joint": x}, prompt=prompt), np.append(0, np.cumsum(sizes)), labels)


def test_a_linear_step_head_is_logistic_regression_on_prefixes() -> None:
    traces, precision = planted(), 3.0
    model = heads.get("linear")(loss="step", prior_precision=precision).fit(traces.pairs(), seed=0)
    known = ~np.isnan(traces.labels)
    x = traces.features.matrix("joint").astype(np.float64)
    mean, scale = x[known].mean(axis=0), x[known].std(axis=0)
    # liblinear holds its intercept by the prior too, as that of a constant column.
    plain = LogisticRegression(C=1 / precision, solver="liblinear", intercept_scaling=30.0, tol=1e-10, max_iter=1000)
    plain.fit((x[known] - mean) / scale, traces.labels[known])
    expected = plain.decision_function((x - mean) / scale)
    np.testing.assert_allclose(model.score(traces.features).centred().mean, expected, atol=2e-3)
    np.testing.assert_allclose(
        step_probability(model.score(traces.features))[0], 1 / (1 + np.exp(-expected)), atol=1e-3
    )


def test_a_network_trained_by_steps_ends_where_logistic_regression_does() -> None:
    traces = planted(prompts=300)
    known = ~np.isnan(traces.labels)
    x = traces.features.matrix("joint")
    plain = LogisticRegression(C=1e6).fit(x[known], traces.labels[known])
    chance = plain.predict_proba(x)[:, 1]
    for name, options in (("mlp", {"hidden": (16,)}), ("inform", {"beta": 1e-4})):
        head = Head.of(
            {
                "name": name,
                "options": {"loss": "step", "epochs": 40, "learning_rate": 3e-3, "batch_size": 64, **options},
            }
        )
        model = head.fit(traces.pairs(), seed=0)
        assert np.abs(step_probability(model.score(traces.features))[0] - chance).mean() < 0.06
        assert (model.reference == 0).all()


def test_the_loss_of_a_batch_is_the_sum_over_its_labelled_prefixes() -> None:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as entropy

    from embrm.heads.gradient.losses import StepLabels
    from embrm.heads.gradient.network import Network
    from embrm.heads.gradient.replicates import PairRows

    traces = planted(prompts=5)
    pairs = traces.pairs()
    head = heads.get("mlp")(loss="step")
    assert isinstance(head, Network)
    rows = PairRows.of(head, pairs)
    reward = torch.randn(2, len(traces.labels), generator=torch.Generator().manual_seed(0))
    both = torch.cat([reward[:, pairs.chosen], reward[:, pairs.rejected]], dim=1)
    loss = StepLabels()(both, rows.batch(torch.zeros(2, 1)))
    known = ~np.isnan(traces.labels)
    label = torch.from_numpy(traces.labels[known]).float()
    expected = entropy(reward[:, known], label.expand(2, -1), reduction="none").sum(dim=1)
    torch.testing.assert_close(loss.sum(dim=1), expected)


def test_every_labelled_prefix_stands_in_one_pair_of_its_prompt() -> None:
    traces = planted()
    pairs = traces.pairs()
    stacked = np.concatenate([pairs.chosen, pairs.rejected])[~np.isnan(pairs.labels.T.ravel())]
    assert sorted(stacked) == np.flatnonzero(~np.isnan(traces.labels)).tolist()
    np.testing.assert_array_equal(traces.features.prompt[pairs.chosen], traces.features.prompt[pairs.rejected])
    some = pairs.take(np.arange(3))
    np.testing.assert_array_equal(some.labels, pairs.labels[:3])
    train, held = pairs.split(0.3, seed=0)
    assert isinstance(train, StepPairs)
    assert not set(train.prompt) & set(held.prompt)


def test_members_of_a_linear_step_head_are_bootstraps_of_both_texts() -> None:
    traces = planted()
    model = heads.get("linear")(loss="step", members=4, prior_precision=1.0).fit(traces.pairs(), seed=0)
    chance = step_probability(model.score(traces.features))
    assert chance.shape == (4, len(traces.labels))
    assert 0 < chance.std(axis=0).mean() < 0.1
    one = heads.get("linear")(loss="step", prior_precision=1.0).fit(traces.pairs(), seed=0)
    assert np.abs(chance.mean(axis=0) - step_probability(one.score(traces.features))[0]).mean() < 0.05


def test_a_step_model_comes_back_from_its_state() -> None:
    traces = planted(prompts=10)
    for name in ("linear", "mlp", "inform"):
        head = Head.of({"name": name, "options": {"loss": "step"}})
        model = head.fit(traces.pairs(), seed=0)
        again = Head.of(head.config()).restore(model.state())
        np.testing.assert_array_equal(again.score(traces.features).draws, model.score(traces.features).draws)


def test_aggregates_by_hand() -> None:
    scores, offsets = [0.9, 0.5, 0.8, 0.3], [0, 3, 4]
    expected = {
        "min": [0.5, 0.3],
        "product": [0.36, 0.3],
        "last": [0.8, 0.3],
        "mean": [2.2 / 3, 0.3],
        "max": [0.9, 0.3],
    }
    for how in AGGREGATIONS:
        np.testing.assert_allclose(aggregate(scores, offsets, how), expected[how])
    traces = planted(prompts=4)
    model = heads.get("linear")(loss="step", members=2).fit(traces.pairs(), seed=0)
    reward = model.score(traces.features)
    whole = trace_reward(reward, traces.offsets, "min")
    assert (whole.kind, whole.draws.shape) == ("members", (2, len(traces)))
    np.testing.assert_allclose(whole.draws[1], aggregate(step_probability(reward)[1], traces.offsets, "min"))


@pytest.mark.parametrize(
    ("scores", "offsets", "how", "kind", "message"),
    [
        ([0.5], [0, 1], "median", OptionError, "how must be one of min, product, last, mean, max, got 'median'"),
        ([1.5], [0, 1], "product", OptionError, r"a product is of probabilities inside \[0, 1\], got scores from 1.5"),
        ([0.5], [0, 1, 1], "min", DataError, "1 pools are empty"),
        ([0.5, 0.5], [0, 1], "min", DataError, "offsets must run from 0 to the 2 rows"),
        ([np.nan], [0, 1], "min", DataError, "scores must be finite"),
    ],
)
def test_scores_that_have_no_aggregate(
    scores: list[float], offsets: list[int], how: Aggregation, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        aggregate(scores, offsets, how)


class Tree:
    """Steps a, b, c to a depth of 3, with a random score of every prefix."""

    def __init__(self, seed: int, depth: int = 3) -> None:
        self.scores = dict[Prefix, float]()
        rng = np.random.default_rng(seed)
        for d in range(1, depth + 1):
            for prefix in itertools.product("abc", repeat=d):
                self.scores[prefix] = float(rng.random())
        self.depth, self.asked = depth, 0

    def propose(self, prefixes: Sequence[Prefix]) -> list[list[str | None]]:
        return [[] if len(prefix) == self.depth else ["a", "b", "c"] for prefix in prefixes]

    def score(self, prefixes: Sequence[Prefix]) -> list[float]:
        self.asked += len(prefixes)
        return [self.scores[prefix] for prefix in prefixes]

    def value(self, steps: Prefix, how: Aggregation) -> float:
        scores = [self.scores[steps[: i + 1]] for i in range(len(steps))]
        return float(aggregate(scores, [0, len(scores)], how)[0])

    def by_depth(self, prefix: Prefix, threshold: float) -> Prefix | None:
        """Return the first finished trace in depth-first order, the best step first, or None below the threshold."""
        if len(prefix) == self.depth:
            return prefix
        for step in sorted("abc", key=lambda s: -self.scores[(*prefix, s)]):
            if self.scores[(*prefix, step)] >= threshold:
                found = self.by_depth((*prefix, step), threshold)
                if found:
                    return found
        return None


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_a_beam_as_wide_as_the_tree_is_exhaustive_search(how: Aggregation) -> None:
    for seed in range(10):
        tree = Tree(seed)
        found = StepSearch(width=27, how=how).run(tree.propose, tree.score)
        every = sorted((tree.value(steps, how) for steps in itertools.product("abc", repeat=3)), reverse=True)
        np.testing.assert_allclose([trace.value for trace in found], every)
        assert all(trace.finished for trace in found)
        assert found[0].scores == tuple(tree.scores[found[0].steps[: i + 1]] for i in range(3))


def test_greedy_search_goes_back_as_depth_first_search_does() -> None:
    came_back = 0
    for seed in range(200):
        tree = Tree(seed)
        expected = tree.by_depth((), 0.6)
        # By "last" a prefix is worth what its own step scores, which is what the search by depth looks at.
        found = StepSearch(threshold=0.6, how="last").run(tree.propose, tree.score)
        if expected is not None:
            assert found[0].steps == expected
        greedy = StepSearch(how="last").run(tree.propose, tree.score)[0].steps
        assert greedy == tree.by_depth((), 0.0)
        came_back += expected is not None and expected != greedy
    assert came_back > 10


def test_where_every_step_is_bad_the_least_bad_one_is_taken() -> None:
    tree = Tree(0)
    (found,) = StepSearch(threshold=1.1).run(tree.propose, tree.score)
    assert found.finished


def test_a_search_keeps_its_budget_and_says_what_it_has() -> None:
    tree = Tree(0)
    (found,) = StepSearch(budget=4).run(tree.propose, tree.score)
    assert (tree.asked, found.finished) == (4, False)
    assert found.value == max(tree.value(p, "min") for p in [("a",), ("b",), ("c",)])


def test_a_response_may_end_where_none_is_proposed() -> None:
    (found,) = StepSearch().run(lambda prefixes: [["a"] if not p else [None, "b"] for p in prefixes], lambda p: [0.5])
    assert (found.steps, found.finished) == (("a",), True)


def test_what_no_search_can_be() -> None:
    with pytest.raises(OptionError, match="width and budget must be >= 1, got 0 and 1000"):
        StepSearch(width=0)
    with pytest.raises(OptionError, match="how must be one of"):
        StepSearch(how="best")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no first step was proposed"):
        StepSearch().run(lambda prefixes: [[] for _ in prefixes], lambda prefixes: [])


def test_labels_and_losses_must_go_together() -> None:
    traces = planted(prompts=6)
    pairs = Pairs.from_arrays(traces.features.matrix("joint"), chosen=[0, 2], rejected=[1, 3])
    with pytest.raises(DataError, match="these are labelled steps, and 'mlp' learns from preferences"):
        heads.get("mlp")().fit(traces.pairs(), seed=0)
    with pytest.raises(DataError, match="these are labelled steps, and 'boosting' learns from preferences"):
        heads.get("boosting")().fit_many([Problem(traces.pairs(), 0)])
    with pytest.raises(DataError, match="loss 'step' learns from labelled steps, and these are preference pairs"):
        heads.get("linear")(loss="step").fit(pairs, seed=0)
    with pytest.raises(OptionError, match="loss 'step' is for linear, mlp and inform"):
        heads.get("bnrm")(loss="step")
    with pytest.raises(OptionError, match="augment 'rrm' adds preferences"):
        heads.get("mlp")(loss="step", augment="rrm")
    with pytest.raises(OptionError, match="loss must be one of bt, step, got 'classify'"):
        heads.get("linear")(loss="classify")


def test_traces_say_what_is_wrong_with_them() -> None:
    features = Features({"joint": np.eye(4)}, prompt=np.array([0, 0, 0, 1]))
    offsets = np.array([0, 2, 3, 4])
    traces = StepTraces(features, offsets, np.array([1, 0, np.nan, 1]))
    assert traces.first_error.tolist() == [1, -1, -1]
    assert traces.take([2, 0]).labels.tolist() == [1, 1, 0]
    assert traces.outcomes().labels[[1, 2, 3]].tolist() == [0, 1, 1]
    with pytest.raises(DataError, match="labels must be 1, 0 or NaN for each of the 4 prefixes"):
        StepTraces(features, offsets, np.array([1, 0, 2, 1]))
    with pytest.raises(DataError, match="the steps of a trace must answer one prompt, row 3 answers another"):
        StepTraces(features, np.array([0, 2, 4]), np.ones(4))
    with pytest.raises(DataError, match="and no step has a label"):
        StepTraces(features, offsets, np.full(4, np.nan)).pairs()
    with pytest.raises(DataError, match="and all 4 labels are 1"):
        StepTraces(features, offsets, np.ones(4)).pairs()
    with pytest.raises(DataError, match="chosen must index the 4 rows"):
        StepPairs(features, np.array([9]), np.array([0]), labels=np.ones((1, 2)))
    with pytest.raises(DataError, match=r"labels must be \(1, 2\) for 1 pairs of prefixes"):
        StepPairs(features, np.array([0]), np.array([0]), labels=np.ones(2))
