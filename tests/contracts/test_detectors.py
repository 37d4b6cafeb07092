"""The laws that every detector keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from embrm import detectors
from embrm.core.arrays import Array
from embrm.errors import DataError, EmbrmError

NAMES = detectors.names()
WITH_P_VALUES = ["caution", "conformal", "mahalanobis", "mop", "neighbours"]
WITH_SET_P_VALUE = [*WITH_P_VALUES, "dispersion", "mmd"]


def form(name: str) -> Callable[[Array], Array]:
    """What a detector takes: vectors, or a number made elsewhere."""
    return (lambda x: np.linalg.norm(x, axis=1)) if name == "conformal" else (lambda x: x)


def small(name: str) -> dict[str, Any]:
    return {"hidden": 8, "bottleneck": 4} if name == "caution" else {}


@pytest.fixture(scope="module")
def data() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "reference": rng.normal(size=(300, 8)),
        "clean": rng.normal(size=(80, 8)),
        "hacked": 5 + 0.01 * rng.normal(size=(80, 8)),  # elsewhere, and collapsed
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_shift_is_more_suspicious_than_clean_outputs(name: str, data: dict[str, Array]) -> None:
    of = form(name)
    fitted = detectors.get(name)(**small(name)).fit(of(data["reference"]), seed=0)
    clean, hacked = fitted.check(of(data["clean"])), fitted.check(of(data["hacked"]))
    assert hacked.statistic > clean.statistic
    assert hacked.scores.mean() > clean.scores.mean()
    if name in WITH_P_VALUES:
        assert hacked.flagged_fraction == 1
        assert clean.flagged_fraction is not None
        assert clean.flagged_fraction < 0.3
    if name in WITH_SET_P_VALUE:
        assert hacked.details["p_value"] <= 0.001
        assert clean.details["p_value"] > 0.005


@pytest.mark.parametrize("name", NAMES)
def test_a_verdict_is_complete_and_finite(name: str, data: dict[str, Array]) -> None:
    of = form(name)
    verdict = detectors.get(name)(**small(name)).fit(of(data["reference"]), seed=0).check(of(data["clean"]))
    assert verdict.detector == name
    assert np.isfinite(verdict.statistic)
    assert verdict.scores.shape == (80,)
    assert np.isfinite(verdict.scores).all()
    assert (verdict.p_values is not None) == (name in WITH_P_VALUES)
    if verdict.p_values is not None:
        assert verdict.flagged is not None
        assert verdict.alpha is not None
        assert ((verdict.p_values > 0) & (verdict.p_values <= 1)).all()
        np.testing.assert_array_equal(verdict.flagged, verdict.p_values <= verdict.alpha)
    assert all(isinstance(v, int | float | str) for v in verdict.details.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_verdict_and_no_global_generator_moves(name: str, data: dict[str, Array]) -> None:
    of = form(name)
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    first, second = (
        detectors.get(name)(**small(name)).fit(of(data["reference"]), seed=3).check(of(data["clean"])) for _ in range(2)
    )
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.statistic == second.statistic
    assert first.details == second.details
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002


@pytest.mark.parametrize("name", WITH_P_VALUES)
def test_a_row_is_judged_by_itself(name: str, data: dict[str, Array]) -> None:
    x = form(name)(data["clean"])
    fitted = detectors.get(name)(**small(name)).fit(form(name)(data["reference"]), seed=0)
    np.testing.assert_allclose(fitted.check(x[:5]).scores, fitted.check(x).scores[:5], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_outputs_does_not_matter(name: str, data: dict[str, Array]) -> None:
    x, order = form(name)(data["clean"]), np.random.default_rng(1).permutation(80)
    fitted = detectors.get(name)(**small(name)).fit(form(name)(data["reference"]), seed=0)
    forward, permuted = fitted.check(x), fitted.check(x[order])
    np.testing.assert_allclose(permuted.scores, forward.scores[order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_empty_outputs_are_refused(name: str, data: dict[str, Array]) -> None:
    fitted = detectors.get(name)(**small(name)).fit(form(name)(data["reference"]), seed=0)
    with pytest.raises(DataError, match="outputs must have at least one row"):
        fitted.check(form(name)(data["clean"][:0]))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "conformal"])
def test_outputs_of_another_width_are_refused(name: str, data: dict[str, Array]) -> None:
    fitted = detectors.get(name)(**small(name)).fit(data["reference"], seed=0)
    with pytest.raises(DataError, match="reference's 8 columns, got 7"):
        fitted.check(data["clean"][:, :7])


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_reference_is_refused(name: str, data: dict[str, Array]) -> None:
    with pytest.raises(DataError, match="reference must have at least one row"):
        detectors.get(name)().fit(form(name)(data["reference"][:0]))


@pytest.mark.parametrize("name", NAMES)
def test_constant_columns_and_one_constant_answer_are_legal(name: str, data: dict[str, Array]) -> None:
    reference = np.concatenate([data["reference"], np.full((300, 2), 0.25)], axis=1)
    outputs = np.tile(reference[:1], (30, 1))
    verdict = detectors.get(name)(**small(name)).fit(form(name)(reference), seed=0).check(form(name)(outputs))
    assert np.isfinite(verdict.scores).all()
    assert np.isfinite(verdict.statistic)


@pytest.mark.parametrize("name", ["mahalanobis", "mop"])
def test_a_reference_smaller_than_its_dimensions_is_shrunk_with_a_warning(name: str) -> None:
    rng = np.random.default_rng(0)
    verdict = detectors.get(name)().fit(rng.normal(size=(60, 64))).check(rng.normal(size=(10, 64)))
    assert any("64 dimensions is learnt from only" in warning for warning in verdict.warnings)
    assert np.isfinite(verdict.scores).all()


def test_every_detector_with_p_values_is_under_their_laws(data: dict[str, Array]) -> None:
    found = [
        name
        for name in NAMES
        if detectors.get(name)(**small(name))
        .fit(form(name)(data["reference"]))
        .check(form(name)(data["clean"]))
        .p_values
        is not None
    ]
    assert found == WITH_P_VALUES


def extremes(rng: np.random.Generator) -> dict[str, tuple[Array, Array]]:
    """Return references and clean outputs at the edges of numbers and of sizes."""
    x, y = rng.normal(size=(300, 4)), rng.normal(size=(60, 4))
    return {
        **{f"times {scale:g}": (x * scale, y * scale) for scale in (1e-42, 1e-30, 1e-19, 1e19, 1e30, 1e37)},
        "far from zero": (x + 1e6, y + 1e6),
        "so far that all are equal": (x + 1e30, y + 1e30),
        "equal": (np.ones((300, 4)), np.ones((60, 4))),
        "one column": (x[:, :1], y[:, :1]),
        "more columns than rows": (rng.normal(size=(60, 90)), rng.normal(size=(60, 90))),
        "two rows": (x[:2], y[:2]),
        "integers": ((x * 10).astype(np.int64), (y * 10).astype(np.int64)),
        "half precision": (x.astype(np.float16), y.astype(np.float16)),
    }


@pytest.mark.parametrize("case", extremes(np.random.default_rng(1)))
@pytest.mark.parametrize("name", NAMES)
def test_at_the_edges_a_verdict_is_finite_or_refused_and_never_an_alarm(name: str, case: str) -> None:
    reference, outputs = extremes(np.random.default_rng(1))[case]
    of = form(name)
    if name == "conformal":
        reference, outputs = reference.astype(np.float64), outputs.astype(np.float64)
    try:
        verdict = detectors.get(name)(**small(name)).fit(of(reference), seed=0).check(of(outputs))
    except EmbrmError:
        return
    assert np.isfinite(verdict.statistic)
    assert np.isfinite(verdict.scores).all()
    p_value = verdict.details.get("p_value", 1.0)
    assert 0.01 < p_value <= 1
    assert verdict.flagged_fraction is None or verdict.flagged_fraction < 0.3


@pytest.mark.parametrize("scale", [1e-30, 1e19, 1e30])
@pytest.mark.parametrize("name", NAMES)
def test_units_change_no_verdict(name: str, scale: float, data: dict[str, Array]) -> None:
    of = form(name)
    fits = [detectors.get(name)(**small(name)).fit(of(data["reference"] * unit), seed=0) for unit in (1.0, scale)]
    for kind in ("clean", "hacked"):
        usual, scaled = (fit.check(of(data[kind] * unit)) for fit, unit in zip(fits, (1.0, scale), strict=True))
        unit = scale if name in ("csi", "neighbours", "conformal") else 1.0
        tolerance = 0.05 if name == "caution" else 1e-3  # its net begins elsewhere by a power of two at most
        np.testing.assert_allclose(scaled.scores / unit, usual.scores, rtol=tolerance, atol=tolerance * 0.1)
        if usual.flagged is not None and name != "caution":
            np.testing.assert_array_equal(scaled.flagged, usual.flagged)


def test_a_score_that_is_not_finite_is_refused(data: dict[str, Array]) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Broken(detectors.CalibratedDetector):
        def learn(self, x: Array, *, seed: int) -> detectors.LearntScore:
            return detectors.LearntScore(lambda rows: np.full(len(rows), np.nan))

    with pytest.raises(DataError, match=r"'broken' finds no finite number for these rows"):
        Broken().fit(data["reference"])
