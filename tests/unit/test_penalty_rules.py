"""Penalties: against their definitions, by class where there are classes, and refused where they make no sense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.metrics.pairwise import cosine_similarity

from embrm import detectors, selectors
from embrm.data.texts import Texts, read_texts
from embrm.detectors import ClassWarning, fit_by_class
from embrm.detectors._gaussian import FittedGaussian
from embrm.embedders import get
from embrm.errors import OptionError
from embrm.evaluation.penalty import Penalty, check_penalty, classes_of, mbr_penalty
from embrm.evaluation.scorer import Scorer

SKEW = np.array([[1.0, 0.9], [0.0, 0.5]])


def read(path: Path, rows: list[dict[str, Any]]) -> Texts:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts(path)


def scorer() -> Scorer:
    return Scorer("scores.jsonl", None, lambda model: {"embedder": get("hashing")(dimension=16)})


def test_mbr_is_minus_the_mean_cosine_to_the_pool() -> None:
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    x[8] = 0
    found = mbr_penalty(x, np.array([0, 5, 9]))
    expected = [-cosine_similarity(part).mean(axis=1) for part in (x[:5], x[5:])]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)


def test_each_class_has_its_own_statistics() -> None:
    rng = np.random.default_rng(0)
    classes = ["a"] * 300 + ["b"] * 300 + ["rare"] * 2
    x = rng.normal(size=(602, 2))
    x[300:600] = x[300:600] @ SKEW + 5
    fitted = fit_by_class(detectors.get("mahalanobis")(), x, classes=classes, seed=0)
    assert set(fitted.parts) == {"a", "b"}
    new = rng.normal(size=(6, 2)).astype(np.float32)
    with pytest.warns(ClassWarning, match="2 of 6 rows are of no class that the reference has enough rows of"):
        found = fitted.scores(new, classes=["a", "b", "a", "rare", "b", None])
    rows = np.array(classes)
    for i, name in enumerate(["a", "b", "a", None, "b", None]):
        mine = x[rows == name] if name else x
        gaussian = FittedGaussian.fit(mine.astype(np.float32))
        inverse = np.linalg.inv(gaussian.root @ gaussian.root.T)
        np.testing.assert_allclose(found[i], mahalanobis(new[i], gaussian.mean, inverse), rtol=1e-5)


def test_without_classes_there_is_one_reference() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    recipe = detectors.get("neighbours")()
    found = fit_by_class(recipe, x, seed=0).scores(x[:4] + 1)
    alone = detectors.get("neighbours")(alpha=None).fit(x, seed=0).check(x[:4] + 1).scores
    np.testing.assert_array_equal(found, alone)


def test_a_reference_smaller_than_its_dimensions_is_warned_about() -> None:
    x = np.random.default_rng(0).normal(size=(6, 20))
    with pytest.warns(ClassWarning, match="covariance of 20 dimensions is learnt from only 6 rows"):
        assert np.isfinite(fit_by_class(detectors.get("mahalanobis")(), x, seed=0).scores(x)).all()


def test_penalties_follow_classes_of_the_files(tmp_path: Path) -> None:
    pools = [{"prompt": f"p{i}", "responses": ["a b", f"c {i}"], "class": "ab"[i % 2]} for i in range(6)]
    usual = [{"prompt": "p", "response": f"a b {i} {i % 3}", "class": "ab"[i % 2]} for i in range(60)]
    texts, reference = read(tmp_path / "pools.jsonl", pools), read(tmp_path / "usual.jsonl", usual)
    assert classes_of(texts) == [c for c in "ababab" for _ in range(2)]
    found = Penalty("mahalanobis", reference, "response").of(texts, scorer(), seed=0)
    vectors = [scorer().vectors(t, space="response") for t in (reference, texts)]
    for i, name in enumerate("ab"):
        alone = detectors.get("mahalanobis")(alpha=None).fit(vectors[0][i::2], seed=0)
        mine = [j for j, c in enumerate(classes_of(texts)) if c == name]
        np.testing.assert_allclose(found[mine], alone.check(vectors[1][mine]).scores)
    mbr = Penalty("mbr").of(texts, scorer(), seed=0)
    np.testing.assert_allclose(mbr, mbr_penalty(vectors[1], texts.offsets))
    np.save(tmp_path / "p.npy", np.arange(12))
    np.testing.assert_array_equal(Penalty(str(tmp_path / "p.npy")).of(texts, scorer(), seed=0), np.arange(12))


def test_senseless_penalties_are_refused(tmp_path: Path) -> None:
    texts = read(tmp_path / "usual.jsonl", [{"response": "a"}, {"response": "b"}])
    file = str(tmp_path / "usual.jsonl")
    for name, reference, space, message in (
        ("mahalanobs", None, None, "no penalty and no file named 'mahalanobs'; did you mean 'mahalanobis'"),
        ("zzz", None, None, "no penalty and no file named 'zzz'; give mbr"),
        ("mahalanobis", None, None, "'mahalanobis' measures how far texts are from reference texts"),
        ("mbr", texts, None, "'mbr' has no reference; leave it out"),
        (file, None, "joint", "read from .*usual.jsonl as it is; leave the space out"),
    ):
        with pytest.raises(OptionError, match=message):
            Penalty(name, reference, space)
    for name in ("csi", "mop", "mmd", "dispersion", "conformal"):
        with pytest.raises(
            OptionError, match=f"'{name}' gives no row a score .*; take caution, mahalanobis, neighbours"
        ):
            fit_by_class(detectors.get(name)(), np.eye(4), seed=0)
    with pytest.raises(OptionError, match=r"scores\.jsonl holds scores and no model, so there are no latents"):
        scorer().vectors(texts, space="latent")
    mean, penalised = selectors.get("mean")(), selectors.get("penalised")()
    with pytest.raises(OptionError, match="the rule 'penalised' needs a penalty"):
        check_penalty([mean, penalised], given=False)
    with pytest.raises(OptionError, match="of the rules, 'mean', none takes one; choose by 'penalised'"):
        check_penalty([mean], given=True)
    check_penalty([mean, penalised], given=True)
    check_penalty([mean], given=False)
