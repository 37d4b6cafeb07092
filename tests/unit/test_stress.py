"""A reward under stress: probes with a known answer, doubts, and flips against closed forms and many draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from embrm import cli, heads, selectors
from embrm.core.arrays import Array
from embrm.core.data import Features
from embrm.core.files import write_rows
from embrm.data.read import read_pairs
from embrm.data.texts import read_texts
from embrm.embedders import Embedder
from embrm.errors import DataError, OptionError
from embrm.evaluation.flips import anderson_darling, flip_report, normal_tail
from embrm.evaluation.probes import CHALLENGES, PROBES, followed, probed
from embrm.evaluation.stress import StressTexts, StressWarning, stress
from embrm.heads import FittedHead
from embrm.metrics.shares import share
from embrm.world import Mechanism, World
from embrm.world.judge import WorldGold
from embrm.world.sampling import pair_rows

HASHING = Embedder.of("hashing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with preferences of biased annotators and a head that learned from them."""
    made = tmp_path_factory.mktemp("stress")
    rows, _ = pair_rows(World.load(), 600, mechanism=Mechanism(bias=1.0), flips=0.0, seed=0)
    write_rows(made / "prefs.jsonl", rows)
    heads.get("linear")().fit(read_pairs(made / "prefs.jsonl", embedder=HASHING), seed=0).save(made / "model")
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> FittedHead:
    return heads.load_model(folder / "model")


@pytest.fixture(scope="module")
def texts(folder: Path) -> StressTexts:
    return StressTexts.of(read_texts(folder / "prefs.jsonl"), most=20)


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (3, 30), (30, 30)])
def test_a_share_of_independent_units_has_wilsons_interval(hits: int, n: int) -> None:
    found = share([1] * hits + [0] * (n - hits))
    known = stats.binomtest(hits, n).proportion_ci(method="wilson")
    np.testing.assert_allclose([found.low, found.high], [known.low, known.high], atol=1e-12)
    alone = share([1] * hits + [0] * (n - hits), cluster=np.arange(n))
    np.testing.assert_allclose([alone.low, alone.high], [found.low, found.high], atol=0.02)  # Student's law


def test_a_share_over_clusters_covers_what_it_says() -> None:
    rng, inside = np.random.default_rng(0), []
    for _ in range(400):
        p = np.repeat(rng.beta(2, 2, size=40), 5)  # five units of one chance each, 0.5 on average
        found = share(rng.random(200) < p, cluster=np.repeat(np.arange(40), 5))
        inside.append(bool(found.low <= 0.5 <= found.high))
    assert 0.92 <= np.mean(inside) <= 0.98
    with pytest.raises(DataError, match=r"number in \[0, 1\]"):
        share([0.5, 2.0])


def test_in_the_world_no_probe_makes_a_text_better(folder: Path) -> None:
    texts, gold = StressTexts.of(read_texts(folder / "prefs.jsonl"), most=40), WorldGold()
    before = gold(texts.prompts, texts.responses)
    for name, changed in probed(texts.prompts, texts.responses, group=texts.cluster, seed=0).items():
        there = [i for i, text in enumerate(changed) if text is not None]
        after = gold([texts.prompts[i] for i in there], [changed[i] or "" for i in there])
        assert (after - before[there]).mean() <= (1e-9 if name == "shuffled" else -0.2), name


def test_probes_do_what_they_say() -> None:
    prompts, said = ["How?", "Why?"], ["One two. Three four.", "Only this"]
    found = probed(prompts, said, group=np.array([0, 1]), seed=0)
    assert list(found) == list(PROBES)
    assert found["repetition"][1] == "Only this Only this"
    assert (found["empty"][0], found["echo"][0], found["cut"][0]) == ("", "How?", "One two.")
    assert (found["other"][0], found["other"][1]) == (said[1], said[0])
    assert found["shuffled"][0] in (None, "Three four. One two.")
    assert found["shuffled"][1] is None
    assert followed("Yes", CHALLENGES[:1], "No.") == f"Yes\n\nuser: {CHALLENGES[0]}\n\nassistant: No."
    with pytest.raises(DataError, match="another prompt"):
        probed(["a", "a"], said, group=np.array([0, 0]), seed=0)


def _line_and_pair(d: int = 8) -> tuple[Array, Features]:
    rng = np.random.default_rng(3)
    return rng.normal(size=d), Features.of(rng.normal(size=(2, d)).astype(np.float32))


def _closed_form(w: Array, x: Features, radius: float) -> float:
    """Return the probability that two points, uniform in balls around two others, are ordered otherwise by w.

    The projection of such a point on a unit vector has the density of 2 Beta((d + 1)/2, (d + 1)/2) - 1.
    """
    rows = x.matrix("joint").astype(np.float64)
    size = radius * np.linalg.norm(rows[0] - rows[1])
    gap = abs((rows[0] - rows[1]) @ w) / (size * np.linalg.norm(w))
    law = stats.beta((len(w) + 1) / 2, (len(w) + 1) / 2, loc=-1, scale=2)
    t = np.linspace(-1, 1, 20001)
    return float(np.trapezoid(law.pdf(t) * law.cdf(-gap - t), t))


def test_flips_of_a_linear_reward_are_those_of_the_closed_form_and_of_many_draws() -> None:
    w, x = _line_and_pair()

    def value(features: Features) -> Array:
        return features.matrix("joint").astype(np.float64) @ w

    known = _closed_form(w, x, 1.0)
    found = flip_report(value, x, np.array([[0, 1]]), radius=1.0, draws=1_000_000, seed=0)
    assert 0.01 < known < 0.4
    assert abs(float(found.flips[0]) - known) < 4 * np.sqrt(known * (1 - known) / 1e6)


def test_the_tail_is_estimated_where_no_draw_turns_the_preference() -> None:
    w, x = _line_and_pair(d=64)  # in many directions the projections are nearly normal
    radius = 0.4
    known = _closed_form(w, x, radius)
    while known > 2e-5:
        radius *= 0.9
        known = _closed_form(w, x, radius)
    found = flip_report(
        lambda f: f.matrix("joint").astype(np.float64) @ w, x, np.array([[0, 1]]), radius=radius, draws=2000, seed=1
    )
    assert found.flips[0] == 0
    assert float(found.share.high) > 100 * known
    assert found.tail[0] < known * 5
    assert found.tail[0] > known / 5
    assert found.probability == found.tail[0]


def test_the_normal_tail_takes_a_transform_or_says_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    assert anderson_darling(x) == pytest.approx(
        (lambda z, n: -n - ((2 * np.arange(1, n + 1) - 1) @ (stats.norm.logcdf(z) + stats.norm.logsf(z[::-1]))) / n)(
            np.sort((x - x.mean()) / x.std(ddof=1)), 300
        )
        * (1 + 0.75 / 300 + 2.25 / 300**2)
    )
    assert np.isnan(normal_tail([1.0] * 50))
    assert np.isnan(normal_tail([1.0, 9.0] * 200))
    skew = 6 - 4 * np.log1p(rng.normal(scale=0.2, size=1000).clip(-0.9))  # odds of a power of a normal
    assert anderson_darling(skew) > 0.752
    assert 0 <= normal_tail(skew) < 0.01


def test_bad_input_is_refused(model: FittedHead, texts: StressTexts) -> None:
    one = Features.of(np.ones((2, 3), dtype=np.float32))
    with pytest.raises(OptionError, match="radius must be a finite number > 0, got 0"):
        stress(model, texts, embedder=HASHING, radius=0)
    with pytest.raises(OptionError, match="radius must be"):
        flip_report(lambda f: f.matrix("joint")[:, 0], one, np.array([[0, 1]]), radius=0.0, seed=0)
    with pytest.raises(OptionError, match="at least 20 draws"):
        flip_report(lambda f: f.matrix("joint")[:, 0], one, np.array([[0, 1]]), draws=3, seed=0)
    with pytest.raises(DataError, match="no preference to turn"):
        flip_report(lambda f: f.matrix("joint")[:, 0], one, np.array([[0, 1]]), seed=0)
    with pytest.raises(OptionError, match="discount must be in"):
        stress(model, texts, embedder=HASHING, discount=0.7)
    with pytest.raises(OptionError, match="values each text by itself"):
        stress(model, texts, embedder=HASHING, rule=selectors.get("soft")())
    with pytest.raises(OptionError, match="a share between 0 and 1"):
        stress(model, texts, embedder=HASHING, draws=20).above(2.0)


def test_a_head_of_biased_annotators_likes_flattery(model: FittedHead, texts: StressTexts) -> None:
    found = stress(model, texts, embedder=HASHING, rule=selectors.get("mean")(), draws=50)
    plain = stress(model, texts, embedder=HASHING, draws=50)
    assert {n: float(p.acceptance.estimate) for n, p in found.probes.items()} == {
        n: float(p.acceptance.estimate) for n, p in plain.probes.items()
    }
    flattery = found.probes["flattery"]
    assert float(flattery.acceptance.low) > 0.5
    assert flattery.gain > 0.5
    original, changed, before, after = flattery.example
    assert changed.endswith(original)
    assert after > before
    assert "flattery" in found.above(0.3)
    assert found.above(1.0) == []
    assert found.turns is not None
    assert found.flips is not None
    kept = found.turns.kept.estimate
    weight = 0.45 ** np.arange(len(kept) + 1)
    assert float(found.turns.consistency.estimate) == pytest.approx(weight @ [1.0, *kept] / weight.sum())


def test_one_text_a_prompt_has_probes_and_no_preferences(model: FittedHead, folder: Path) -> None:
    rows = [{"prompt": f"Question {i}?", "response": f"Answer number {i}. It is short."} for i in range(6)]
    write_rows(folder / "single.jsonl", rows)
    texts = StressTexts.of(read_texts(folder / "single.jsonl"))
    with pytest.warns(StressWarning, match="no prompt has two different responses"):
        found = stress(model, texts, embedder=HASHING)
    assert (found.turns, found.flips) == (None, None)
    assert len(found.probes) == len(PROBES)


@pytest.mark.slow
def test_without_a_file_the_texts_are_those_of_the_world() -> None:
    texts = StressTexts.shipped(most=30)
    assert len(texts) == 60
    assert len(np.unique(texts.cluster)) < len(np.unique(texts.prompt)) == 30
    assert all(texts.responses[i] != texts.responses[j] for i, j in texts.pairs)


def test_the_command_writes_a_page_and_exits_3_above_the_limit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "stress.html"
    typed = ["stress", str(folder / "model"), str(folder / "prefs.jsonl"), "--prompts", "12", "--draws", "20"]
    assert cli.run([*typed, "--limit", "0.2", "--html", str(page)]) == 3
    out = capsys.readouterr().out
    assert "ALARM: above 0.2:" in out
    assert "flattery" in out
    written = page.read_text(encoding="utf-8")
    assert "taken in by these changes" in written
    assert "<script" not in written
    assert "http" not in written.split("<style>")[1]
    assert cli.run([*typed, "--json"]) == 0
    assert '"acceptance"' in capsys.readouterr().out
    assert cli.run([*typed, "--radius", "0"]) == 2
    assert "radius must be" in capsys.readouterr().err
