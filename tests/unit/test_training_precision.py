"""Products of the input layer in bfloat16: chosen by measurement, as good, and the same whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embrm import Problem
from embrm.errors import OptionError
from embrm.heads.gradient import precision, scaled
from embrm.heads.gradient.block import Block
from embrm.heads.gradient.replicates import Prepared, Replicate
from embrm.heads.gradient.rows import Matrices
from embrm.heads.gradient.scaled import ScaledRows
from embrm.heads.inform import Inform
from tests.planted import planted

CPU = torch.device("cpu")
WIDE = {"width": 384, "hidden": 128}


def test_the_variable_decides_and_small_layers_stay_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for choice, expected in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        monkeypatch.setenv(precision.VARIABLE, choice)
        assert precision.input_dtype(CPU, **WIDE) == expected
        assert precision.input_dtype(CPU, width=50, hidden=8) == torch.float32
        assert precision.input_dtype(torch.device("meta"), **WIDE) == torch.float32
    monkeypatch.setenv(precision.VARIABLE, "half")
    with pytest.raises(
        OptionError, match="EMBRM_TRAINING_PRECISION must be one of auto, float32, bfloat16, got 'half'"
    ):
        precision.input_dtype(CPU, **WIDE)


@pytest.mark.parametrize(("seconds", "expected"), [((1.0, 0.6), torch.bfloat16), ((1.0, 0.9), torch.float32)])
def test_what_takes_less_time_is_chosen_and_measured_once(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], expected: torch.dtype
) -> None:
    monkeypatch.delenv(precision.VARIABLE, raising=False)
    clock = iter([seconds[0]] * 9 + [seconds[1]] * 9)
    monkeypatch.setattr(precision, "_seconds", lambda way: next(clock))
    precision._pays.cache_clear()
    try:
        assert [precision.input_dtype(CPU, **WIDE) for _ in range(3)] == [expected] * 3
    finally:
        precision._pays.cache_clear()


def test_the_rounded_layer_and_its_gradients_are_those_of_the_rounded_numbers() -> None:
    rng = torch.Generator().manual_seed(0)
    x, weight, bias, gradient = (torch.randn(s, generator=rng) for s in ((2, 9, 5), (2, 5, 3), (2, 3), (2, 9, 3)))
    weight.requires_grad_(), bias.requires_grad_()
    out = precision.RoundedAffine.apply(x.bfloat16(), weight, bias)  # type: ignore[no-untyped-call]
    rounded = [t.detach().bfloat16().double() for t in (x, weight, gradient)]
    expected = torch.bmm(rounded[0], rounded[1]) + bias.detach().double()[:, None]
    np.testing.assert_allclose(out.detach().numpy(), expected.numpy(), atol=2**-8 * 4)
    of_weight, of_bias = torch.autograd.grad(out, [weight, bias], gradient)
    np.testing.assert_allclose(of_weight, torch.bmm(rounded[0].mT, rounded[2]).numpy(), atol=2**-8 * 8)
    np.testing.assert_allclose(of_bias, gradient.sum(dim=1).numpy(), rtol=1e-5, atol=1e-6)


def test_a_fit_in_bfloat16_orders_as_well_and_alike_on_one_thread_and_two(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = planted(pairs=600)
    monkeypatch.setattr(precision, "SMALLEST", 1)
    head = Inform(members=2, hidden=16, latent_dim=8, epochs=8, batch_size=64)
    scores = {}
    for choice in ("float32", "bfloat16"):
        monkeypatch.setenv(precision.VARIABLE, choice)
        for threads in (1, 2):
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                model = head.fit(pairs, seed=0)
                assert model.record["precision"] == choice
                scores[choice, threads] = model.score(pairs.features).draws
            finally:
                torch.set_num_threads(before)
        np.testing.assert_array_equal(scores[choice, 1], scores[choice, 2])
    for exact, rounded in zip(scores["float32", 1], scores["bfloat16", 1], strict=True):
        assert not np.array_equal(exact, rounded)
        assert np.corrcoef(exact, rounded)[0, 1] > 0.99
    alone = Inform(hidden=16, latent_dim=8, epochs=8, batch_size=64).fit(pairs, seed=0).score(pairs.features).draws[0]
    np.testing.assert_allclose(scores["bfloat16", 1][0], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_the_same_from_a_table_and_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    pairs, _ = planted(pairs=40)
    head = Inform(hidden=4, patience=0)
    prepared = Prepared.of(head, Problem(pairs, 0), matrices=Matrices(CPU), flip=0.0, start=None)
    table = ScaledRows(prepared, dtype=dtype)
    monkeypatch.setattr(scaled, "TABLE_BYTES", 0)
    plain = ScaledRows(prepared, dtype=dtype)
    x = pairs.features.matrix("joint")
    expected = (x[pairs.chosen] - prepared.mean.numpy()) / prepared.scale.numpy()
    got = []
    for rows in (table, plain):
        out = torch.empty(len(pairs), x.shape[1], dtype=dtype)
        rows.gather(rows.index[0], out=out)
        got.append(out)
        np.testing.assert_allclose(
            out.float().numpy(), expected, rtol=2**-8 if dtype == torch.bfloat16 else 1e-5, atol=1e-6
        )
    assert torch.equal(*got)


def test_a_block_of_a_head_that_reads_features_otherwise_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(precision.VARIABLE, "bfloat16")
    monkeypatch.setattr(precision, "SMALLEST", 1)
    pairs, _ = planted(pairs=40)

    class Other(Inform):
        rounds = False

    for kind, expected in ((Inform, torch.bfloat16), (Other, torch.float32)):
        head = kind(hidden=4, patience=0)
        prepared = Prepared.of(head, Problem(pairs, 0), matrices=Matrices(CPU), flip=0.0, start=None)
        assert Block(head, [Replicate.of(head, prepared, 0)], steps=1, batch=32).dtype == expected
