"""The training options of gradient heads, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.special import expit, log_expit

from embrm import Candidates, Features, Pairs, Problem, heads
from embrm.core.recipe import make
from embrm.core.settings import read_settings
from embrm.errors import ConvergenceError, DataError, OptionError, UnknownNameError
from embrm.heads.gradient.block import Block, StepInputs
from embrm.heads.gradient.diversity import Rank, relative_rank
from embrm.heads.gradient.flip_rate import estimate_flip_rate
from embrm.heads.gradient.head import FittedNet, GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Batch
from embrm.heads.gradient.losses import Instance, Loss, Rdpo, Smoothed, losses
from embrm.heads.gradient.pools import PoolPessimism
from embrm.heads.gradient.rows import Crossed, RowSource
from embrm.heads.inform import Inform
from tests.planted import planted

Mlp = heads.get("mlp")


def flipped(seed: int, *, rate: float = 0.0, side: bool = False) -> tuple[Pairs, np.ndarray]:
    """Return pairs of 250 prompts whose labels are flipped at a rate, or (`side`) mostly where a feature is large."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, 32)).astype(np.float32)
    reward = 0.35 * x @ rng.normal(size=32) + 0.8 * np.tanh(2 * x[:, 0] * x[:, 1])
    i = rng.integers(2000, size=2500)
    j = i // 8 * 8 + (i + rng.integers(1, 8, size=2500)) % 8
    wins = rng.random(2500) < expit(reward[i] - reward[j])
    wins ^= rng.random(2500) < (np.where(x[i, 3] + x[j, 3] > 0, 0.45, 0.05) if side else rate)
    features = Features({"joint": x}, prompt=np.repeat(np.arange(250), 8))
    return Pairs(features, np.where(wins, i, j), np.where(wins, j, i)), reward


def quality(loss: str, *, side: bool) -> tuple[float, float]:
    """Return the correlation with the known reward and the NLL of clean labels on unseen prompts, over 5 seeds."""
    data = [flipped(seed, rate=0.4, side=side) for seed in range(5)]
    known = {"flip_rate": 0.25 if side else 0.4} if loss == "rdpo" else {}
    recipe = Mlp(loss={"name": loss, "options": known}, hidden=(64,))
    models = recipe.fit_many([Problem(p.take(p.prompt < 200), s) for s, (p, _) in enumerate(data)])
    out = []
    for model, (pairs, reward) in zip(models, data, strict=True):
        score = model.score(pairs.features).mean[1600:]
        z, p = score[::2] - score[1::2], expit(reward[1600::2] - reward[1601::2])
        out.append((np.corrcoef(score, reward[1600:])[0, 1], -np.mean(p * log_expit(z) + (1 - p) * log_expit(-z))))
    return tuple(np.mean(out, axis=0))


@pytest.mark.slow
def test_robust_losses_are_no_worse_under_symmetric_flips_and_better_calibrated_under_others() -> None:
    plain, plain_side = quality("bt", side=False), quality("bt", side=True)
    for loss in ("rdpo", "symmetric"):
        assert quality(loss, side=False)[0] > plain[0] - 0.01
        found = quality(loss, side=True)
        assert found[1] < plain_side[1] - 0.01  # calibration
        assert found[0] > plain_side[0] - 0.04  # and about the same order


def test_the_flip_rate_of_held_out_margins_is_found() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000) * 3
    for rate in (0.0, 0.1, 0.3):
        signs = np.where((rng.random(z.size) < expit(z)) ^ (rng.random(z.size) < rate), 1, -1)
        found = estimate_flip_rate(signs * z * 0.5)  # on half the scale: the scale is fitted too
        np.testing.assert_allclose(found.rate, rate, atol=0.02)
        half = estimate_flip_rate(np.r_[signs * z, -np.abs(z)], weight=np.r_[np.ones(z.size), np.zeros(z.size)])
        np.testing.assert_allclose(half.rate, found.rate, atol=5e-3)


@pytest.mark.parametrize("bad", [np.array([np.nan, 1.0]), np.ones((2, 2)), np.array([])])
def test_flip_rate_needs_margins(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="margins must be finite"):
        estimate_flip_rate(bad)


def test_a_loss_that_needs_a_flip_rate_estimates_it_on_validation_prompts() -> None:
    noisy = flipped(0, rate=0.3)[0]
    model = Mlp(loss="rdpo", epochs=8).fit(noisy, seed=0)
    assert 0.1 < model.record["flip_rate"] < 0.45
    assert Mlp(loss=Rdpo(flip_rate=0.2), epochs=1).fit(noisy, seed=0).record["flip_rate"] == 0.2
    single = noisy.take(noisy.prompt == noisy.prompt[0])
    with (
        pytest.warns(UserWarning, match="belong to one prompt"),
        pytest.raises(DataError, match=r"Smoothed\(flip_rate=0.1\)"),
    ):
        Mlp(loss=Smoothed()).fit(single, seed=0)


@pytest.mark.parametrize("name", ["mlp", "inform", "brme", "warm", "ensemble"])
def test_a_recipe_is_rebuilt_from_its_json(name: str) -> None:
    """A name stands for the defaults of a kind, a mapping for any kind; numbers that were typed become numbers."""
    options: dict[str, Any] = {"loss": {"name": "rdpo", "options": {"flip_rate": "0.2"}}, "reweight": "instance"}
    base: Any = Mlp(**options, diversity={"name": "bootstrap"}, pessimism="pools")
    assert base.loss == Rdpo(flip_rate=0.2)
    assert base.pessimism == PoolPessimism()
    recipe = {"brme": {"trunk": base}, "warm": {"base": base}, "ensemble": {"base": base}}.get(name, options)
    head: Any = heads.get(name)(**recipe)
    assert heads.Head.of(json.loads(json.dumps(head.config()))) == head
    typed = ["loss=rdpo", "loss.flip_rate=0.2", "reweight=instance"]
    assert make(heads.registry, "mlp", read_settings(typed)) == Mlp(**options)
    assert TypeAdapter(type(base)).validate_python({**options, "members": "3"}) == Mlp(**options, members=3)


def test_a_loss_of_ones_own_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_classes", dict(losses._classes))  # no other test knows it

    @losses.offer("own hinge")
    @dataclass(frozen=True)
    class Hinge(Loss):
        def __call__(self, reward: torch.Tensor, batch: Batch) -> torch.Tensor:
            chosen, rejected = reward.chunk(2, dim=-1)
            return (1 - chosen + rejected).clamp_min(0)

    pairs, reward = planted(pairs=300)
    model: Any = Mlp(loss="own hinge").fit(pairs, seed=0)
    assert model.head.loss == Hinge()
    assert np.corrcoef(model.score(pairs.features).mean, reward)[0, 1] > 0.6


def test_a_single_member_is_paid_for_the_rank_of_its_own_layer() -> None:
    weight = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    gain = Rank(bonus=2.0).gain({"input.weight": weight}, 1).numpy()
    each = [2 * np.linalg.norm(w, "nuc") / np.linalg.norm(w) for w in weight.numpy()]
    np.testing.assert_allclose(gain, each, rtol=1e-5)
    reward = torch.arange(6.0).view(2, 3)
    np.testing.assert_array_equal(Rank().likely(reward, 1).numpy(), reward.numpy())


def test_instance_weights_are_the_worst_distribution_of_kl_penalised_robust_optimisation() -> None:
    """Their loss has the gradient of τ log mean exp(loss / τ), the dual of max over q of E_q loss − τ KL(q‖uniform)."""
    head: Any = Mlp(reweight=Instance(temperature=0.5), centre=0.0, hidden=(3,))
    reward = torch.randn(2, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    ones = torch.ones(6, dtype=torch.float64)
    batch = Batch(ones, ones, 0 * ones, torch.empty(0, 6), torch.zeros(1, 1))
    params = {"reward.weight": torch.ones(2, 1, 1, dtype=torch.float64)}
    z = reward.unsqueeze(-1)
    (own,) = torch.autograd.grad(head.objective(params, Latent(z), z, batch).sum(), reward)
    loss = torch.nn.functional.softplus(reward[:, 6:] - reward[:, :6])
    (dual,) = torch.autograd.grad((0.5 * torch.logsumexp(loss / 0.5, dim=1)).sum(), reward)
    np.testing.assert_allclose(own.numpy(), dual.numpy(), rtol=1e-9)


def test_relative_rank_is_that_of_the_stacked_layers_and_the_bonus_raises_it() -> None:
    weight = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    stacked = np.concatenate([weight[2].numpy(), weight[3].numpy()], axis=1)
    expected = np.linalg.svd(stacked, compute_uv=False).sum() / np.linalg.norm(stacked)
    np.testing.assert_allclose(relative_rank(weight, 2)[2:].numpy(), expected, rtol=1e-5)
    pairs, reward = planted(pairs=300)
    options = {"members": 3, "hidden": (8,), "epochs": 10, "patience": 0, "learning_rate": 1e-2}
    ranks = []
    for bonus in (1e-9, 1.0):
        model: Any = Mlp(diversity=Rank(bonus), **options).fit(pairs, seed=0)
        scale = pairs.features.matrix("joint").std(axis=0)[:, None]
        ranks.append(float(relative_rank(torch.from_numpy(model.params["input.weight"] * scale), 3)[0]))
        assert np.corrcoef(model.score(pairs.features).mean, reward)[0, 1] > 0.6
    assert ranks[1] > ranks[0] + 0.05


def test_members_under_a_rank_bonus_share_their_batches_and_their_likelihood() -> None:
    """Fitted with others or alone, a problem's members come out the same."""
    pairs, _ = planted(pairs=260)
    recipe = Mlp(members=2, diversity="rank", hidden=(8,), epochs=4)
    together = recipe.fit_many([Problem(pairs, seed) for seed in range(3)])
    for seed, model in enumerate(together):
        alone = recipe.fit(pairs, seed=seed).score(pairs.features).draws
        np.testing.assert_allclose(model.score(pairs.features).draws, alone, rtol=1e-3, atol=1e-3 * alone.std())
        assert len(set(model.record["best_epoch"])) == 1


def pools(seed: int = 1) -> Candidates:
    x = np.random.default_rng(seed).normal(size=(200, 12)).astype(np.float32)
    return Candidates(Features({"joint": x}, prompt=np.repeat(np.arange(10), 20)), np.arange(0, 201, 20))


def test_pessimism_lowers_what_the_reward_would_pick_on_the_pools() -> None:
    pairs, _ = planted(pairs=400)
    plain = Mlp(patience=0).fit(pairs, seed=0)
    assert isinstance(plain, FittedNet)
    gains = []
    for price in (0.0, 1.0):
        model = plain.refine(pairs, seed=1, pools=pools(), pessimism=PoolPessimism(price), epochs=10)
        reward = model.score(pools().features).draws[0].reshape(10, 20)
        gains.append(np.mean(reward.max(axis=1) - reward.mean(axis=1)))
    assert gains[1] < 0.7 * gains[0]
    with pytest.raises(DataError, match="pessimism needs pools"):
        Mlp(pessimism="pools").fit(pairs, seed=0)


@pytest.mark.parametrize("recipe", [Mlp(members=5), Inform(members=4)], ids=["mlp", "inform"])
def test_members_that_go_on_without_those_that_have_stopped_are_what_they_are_beside_them(
    recipe: GradientHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, _ = flipped(3, rate=0.3)
    problems = [Problem(pairs.take(pairs.prompt < 150), seed) for seed in (0, 1)]
    steps: list[int] = []
    loss = Block.loss

    def counted(block: Block, step: StepInputs, **options: float) -> torch.Tensor:
        steps.append(len(step.x))
        return loss(block, step, **options)

    monkeypatch.setattr(Block, "loss", counted)
    short = recipe.train(problems)
    fewer, steps[:] = sum(steps), []
    monkeypatch.setattr(Block, "_leave_out", lambda self, stopped: None)
    plain = recipe.train(problems)
    assert fewer < sum(steps)
    for a, b in zip(short, plain, strict=True):
        assert a.record["epochs"] == b.record["epochs"]
        for name, array in a.params.items():
            np.testing.assert_allclose(array, b.params[name], rtol=1e-4, atol=1e-6)


def test_a_network_that_is_only_a_step_to_another_is_the_same_without_its_measures() -> None:
    pairs, _ = flipped(4)
    problems = [Problem(pairs.take(pairs.prompt < 60), 0)]
    recipe = Inform(members=2, epochs=2)
    (full,), (bare,) = recipe.train(problems), recipe.train(problems, measured=False)
    assert all((bare.params[name] == array).all() for name, array in full.params.items())
    assert (bare.reference == 0).all()
    assert {*full.record} - {*bare.record} == {"sd", "kl_nats", "active_units"}


def test_refining_goes_on_from_where_the_model_stands() -> None:
    pairs, _ = planted(pairs=200)
    for name in ("mlp", "inform"):
        model: Any = heads.get(name)(members=2).fit(pairs, seed=0)
        still = model.refine(pairs, seed=1, learning_rate=0.0, epochs=1)
        assert still.head.learning_rate == 0
        expected = model.score(pairs.features).draws
        np.testing.assert_allclose(still.score(pairs.features).draws, expected, rtol=1e-3, atol=1e-4)


def crossed(seed: int = 0) -> tuple[Pairs, Features]:
    """Return pairs whose labels follow a quality alone, of responses that belong to their prompts."""
    rng = np.random.default_rng(seed)
    prompts = rng.normal(size=(80, 8))
    prompt = np.repeat(np.arange(80), 4)
    good = rng.normal(size=(len(prompt), 1))
    response = np.concatenate([prompts[prompt] + 0.3 * rng.normal(size=(len(prompt), 8)), good], axis=1)
    padded = np.concatenate([prompts[prompt], np.zeros((len(prompt), 1))], axis=1)
    i = rng.integers(320, size=600)
    j = i // 4 * 4 + (i + rng.integers(1, 4, size=600)) % 4
    wins = good[i, 0] > good[j, 0]
    features = Features({"prompt": padded, "response": response}, prompt=prompt)
    return Pairs(features, np.where(wins, i, j), np.where(wins, j, i)), features


def test_rrm_makes_a_head_read_the_prompt() -> None:
    """Only with it does the head score a response above a stranger's under the response's own prompt."""
    pairs, features = crossed()
    rng = np.random.default_rng(1)
    held = np.flatnonzero(features.prompt >= 60)
    strangers = rng.choice(held, size=len(held))
    keep = features.prompt[strangers] != features.prompt[held]
    own, other = held[keep], strangers[keep]
    moved = Features(
        {"prompt": features.views["prompt"][own], "response": features.views["response"][other]},
        prompt=features.prompt[own],
    )
    right = []
    for options in ({"view": "crossed"}, {"augment": "rrm"}):
        recipe = Mlp(**options, epochs=30, learning_rate=3e-3)
        model = recipe.fit(pairs.take(pairs.prompt < 60), seed=0)
        right.append(np.mean(model.score(features.take(own)).mean > model.score(moved).mean))
        test = pairs.take(pairs.prompt >= 60)
        mean = model.score(features).mean
        assert np.mean(mean[test.chosen] > mean[test.rejected]) > 0.8
    assert right[0] < 0.65
    assert right[1] > 0.8


def test_crossed_rows_are_prompt_response_and_product(tmp_path: Any) -> None:
    pairs, features = crossed()
    source = RowSource.of(features, "crossed")
    assert isinstance(source, Crossed)
    p, r = features.matrix("prompt"), features.matrix("response")
    rows = source.crossed_row(np.array([5, 300, 7]), np.array([5, 2, 319]))
    expected = np.concatenate([p[[5, 300, 7]], r[[5, 2, 319]], p[[5, 300, 7]] * r[[5, 2, 319]]], axis=1)
    np.testing.assert_array_equal(source[rows], expected)
    np.testing.assert_array_equal(source.gather(torch.from_numpy(rows)).numpy(), expected)
    assert rows[0] == 5
    whole = np.concatenate([p, r, p * r], axis=1)
    np.testing.assert_array_equal(source[2:40], whole[2:40])
    model = Mlp(view="crossed", epochs=2).fit(pairs, seed=0)
    given = Features({"crossed": whole}, prompt=features.prompt)
    np.testing.assert_allclose(model.score(features).draws, model.score(given).draws, rtol=1e-5)
    model.save(tmp_path / "model")  # whose probe is checked by loading


def test_crossing_needs_both_views_of_one_width() -> None:
    pairs, features = crossed()
    alone = replace(pairs, features=replace(features, views={"prompt": features.views["prompt"]}))
    with pytest.raises(DataError, match="needs the views 'prompt' and 'response'"):
        Mlp(view="crossed").fit(alone, seed=0)
    views = {"prompt": features.views["prompt"], "response": features.views["response"][:, :5]}
    with pytest.raises(DataError, match="must have one shape"):
        Mlp(view="crossed").fit(replace(pairs, features=replace(features, views=views)), seed=0)
    one = pairs.take(pairs.prompt == pairs.prompt[0])
    with pytest.raises(DataError, match="'rrm' needs responses to other prompts"):
        Mlp(augment="rrm", patience=0).fit(one, seed=0)


def test_a_loss_that_stops_being_finite_is_an_error_with_the_step() -> None:
    pairs, _ = planted(pairs=300)
    with pytest.raises(ConvergenceError, match=r"the loss is (nan|inf) at epoch 1, step \d \(last finite value \d"):
        Mlp(learning_rate=1e20, batch_size=32).fit(pairs, seed=0)


def test_parameters_that_stop_being_finite_in_the_last_step_are_an_error() -> None:
    pairs, _ = planted(pairs=100)
    with pytest.raises(ConvergenceError, match="parameters are not finite after 1 epochs"):
        Mlp(learning_rate=1e38, weight_decay=1e3, epochs=1, patience=0).fit(pairs, seed=0)


@pytest.mark.parametrize("name", ["mlp", "inform", "bnrm", "dropout", "odin"])
def test_a_single_prompt_trains_without_validation(name: str) -> None:
    pairs, _ = planted(prompts=1, responses=40, pairs=200)
    with pytest.warns(UserWarning, match="belong to one prompt"):
        model = heads.get(name)(epochs=3, patience=3).fit(pairs, seed=0)
    assert model.record["validation_loss"] == [None]
    assert model.record["epochs"] == [3]


def test_bootstraps_over_a_single_prompt_are_refused() -> None:
    pairs, _ = planted(prompts=1, responses=40, pairs=200)
    with pytest.raises(DataError, match="bootstrap over prompts needs 2 prompts"):
        Mlp(diversity="bootstrap", members=3, patience=0).fit(pairs, seed=0)
    with pytest.warns(UserWarning, match="one prompt"), pytest.raises(DataError, match="bootstrap over prompts needs"):
        heads.get("brme")().fit(pairs, seed=0)


@pytest.mark.parametrize("name", ["mlp", "inform", "bnrm", "odin"])
def test_labels_that_all_point_one_way_are_learned_and_stay_finite(name: str) -> None:
    """A fifth of the width separates winners from losers: the loss has no minimum, and training ends anyway."""
    pairs, _ = planted(pairs=300)
    first = pairs.features.matrix("joint")[:, 0]
    up = first[pairs.chosen] > first[pairs.rejected]
    w, l = np.where(up, pairs.chosen, pairs.rejected), np.where(up, pairs.rejected, pairs.chosen)  # noqa: E741
    mean = (
        heads.get(name)(epochs=40, patience=0)
        .fit(replace(pairs, chosen=w, rejected=l), seed=0)
        .score(pairs.features)
        .mean
    )
    assert np.mean(mean[w] > mean[l]) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "unhinge"}, "no loss named 'unhinge'. Did you mean 'unhinged'?"),
        ({"loss": None}, "a loss is a name or"),
        ({"loss": {"name": "rdpo", "clip": 1.0}}, "a loss is a name or"),
        ({"loss": {"name": "bt", "options": {"clip": 1.0}}}, "loss 'bt' has no option 'clip'. There are: none"),
        ({"loss": {"name": "rdpo", "options": {"clip": "much"}}}, "loss 'rdpo': clip: Input should be a valid number"),
        ({"loss": {"name": "smoothed", "options": {"flip_rate": 0.5}}}, r"flip_rate must be inside \[0, 0.5\)"),
        ({"loss": {"name": "rdpo", "options": {"clip": 0.0}}}, "loss 'rdpo': clip must be > 0"),
        ({"loss": {"name": "unhinged", "options": {"clip": 0.0}}}, "loss 'unhinged': clip must be > 0"),
        ({"loss": {"name": "margin", "options": {"margin": -1.0}}}, "loss 'margin': margin must be >= 0"),
        ({"reweight": {"name": "instance", "options": {"temperature": 0.0}}}, "temperature must be > 0"),
        ({"reweight": "none"}, "no reweight named 'none'. There are: instance"),
        ({"pessimism": {"name": "pools", "options": {"weight": -1.0}}}, "weight must be >= 0"),
        ({"pessimism": {"name": "pools", "options": {"draws": 1}}}, "draws >= 2"),
        ({"diversity": "luck"}, "no diversity named 'luck'. There are: seed, bootstrap, rank"),
        ({"diversity": {"name": "rank", "options": {"bonus": -1.0}}}, "diversity 'rank': bonus must be >= 0"),
        ({"augment": "rrm", "view": "response"}, "'rrm' reads the view 'crossed', got view 'response'"),
        ({"augment": "swap"}, "augment must be one of none, rrm"),
        ({"members": 0}, "members must be >= 1"),
        ({"validation_fraction": 1.0}, "validation_fraction must be inside"),
        ({"hidden": ()}, "hidden must give at least one"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((OptionError, UnknownNameError), match=message):
        Mlp(**options)


@pytest.mark.parametrize(
    ("options", "message"), [({"latent_dim": 0}, "latent_dim must be >= 1"), ({"kl": "max"}, "kl must be one of")]
)
def test_inform_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("inform")(**options)


def test_the_price_of_a_nat_rises_over_the_warm_up_and_nothing_from_before_its_end_is_kept() -> None:
    """At a β that closes the latent at once, a warm-up leaves time to learn; without KL it changes nothing."""
    pairs, _ = planted(pairs=400)
    inform = heads.get("inform")
    head = inform(beta=0.1, warm_up=3, epochs=5, patience=1)
    model = head.fit(pairs, seed=0)
    assert model.record["best_epoch"][0] >= 4
    free, late = (inform(beta=0.0, warm_up=w, patience=0, epochs=4).fit(pairs, seed=0) for w in (0, 3))
    np.testing.assert_array_equal(free.score(pairs.features).draws, late.score(pairs.features).draws)
    at_once, annealed = (inform(beta=1.0, warm_up=w, patience=0, epochs=12).fit(pairs, seed=0) for w in (0, 11))
    assert annealed.record["kl_nats"][0] > at_once.record["kl_nats"][0]
    for options in ({"warm_up": 5, "epochs": 5}, {"warm_up": -1}, {"warm_up": 1, "kl": "released"}):
        with pytest.raises(OptionError, match="warm_up must be >= 0 and below"):
            inform(**options)
