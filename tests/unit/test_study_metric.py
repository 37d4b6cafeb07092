"""The names of measurements: what they hold, their text, and what is refused."""

from __future__ import annotations

import pytest

from embrm.errors import OptionError, UnknownNameError
from embrm.study.metric import AXES, FAMILIES, Metric


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Metric("accuracy", "in"), "accuracy.in"),
        (Metric("bon", "ibl 0.001"), "bon.ibl 0.001"),
        (Metric("path", "robust 0.5"), "path.robust 0.5"),
        (Metric("proxy", "mean"), "proxy.mean"),
        (Metric("run", "proxy"), "proxy"),
        (Metric("run", "kl"), "kl"),
        (Metric("spread", "mean"), "spread.mean"),
        (Metric("reliability"), "reliability"),
        (Metric("reliability", "weight"), "reliability.weight"),
        (Metric("auroc", space="latent"), "auroc.latent"),
        (Metric("sizes"), "sizes"),
        (Metric("points", "gold"), "watch.gold"),
        (Metric("watch", "csi", "pca"), "watch.csi.pca"),
        (Metric("watch", "gold", "latent"), "watch.gold.latent"),  # a detector may be called so
        (Metric("alarm", "mmd", "joint"), "alarm.mmd.joint"),
        (Metric("cloud"), "cloud"),
        (Metric("latent"), "latent"),
    ],
)
def test_a_metric_is_written_and_read(metric: Metric, text: str) -> None:
    assert str(metric) == text
    assert Metric.parse(text) == metric


def test_every_axis_is_explained() -> None:
    assert {axis for kind in FAMILIES.values() for axis in kind.axes} == set(AXES)


@pytest.mark.parametrize("text", ["", "bon", "sizes.1", "watch", "run.kl", "points.kl", "width.mean"])
def test_texts_that_are_no_metric_are_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match=f"no metric is written '{text}'; families are: accuracy, bon"):
        Metric.parse(text)


def test_a_misspelt_family_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"no family of metrics named 'pathe'. Did you mean 'path'\?"):
        Metric("pathe", "mean")
    with pytest.raises(UnknownNameError, match=r"no family of metrics named 'q'\. There are: accuracy, bon"):
        Metric("q")


@pytest.mark.parametrize(
    ("name", "space", "family", "message"),
    [
        ("", "", "bon", "metrics 'bon' are of a rule, give its name; got ''"),
        ("mean", "", "sizes", "metrics 'sizes' are without a name; got 'mean'"),
        ("loss", "", "run", "metrics 'run' are of a series among kl, gold, proxy; got 'loss'"),
        ("csi", "", "watch", "metrics 'watch' are in a space, give space='latent' or another; got ''"),
        ("mean", "pca", "path", "metrics 'path' are in no space; got 'pca'"),
    ],
)
def test_a_metric_has_what_its_family_asks_for(name: str, space: str, family: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Metric(family, name, space)
