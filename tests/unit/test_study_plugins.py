"""Claims and kinds of data sets of other packages: found by entry points, and what is wrong with one is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embrm.errors import OptionError
from embrm.study import claims
from embrm.study.claims import Cells, Measured, Metric, claim
from embrm.study.claims._shipped import shipped
from embrm.study.claims.define import CLAIMS
from embrm.study.config import load_config
from embrm.study.datasets import identify, kind_of, open_dataset, registry
from embrm.study.results import Results
from embrm.world.mechanism import Mechanism
from tests import simulated_claims as simulated

Install = Callable[[str, str, str], None]

GOOD = """
from embrm.study.claims import Cells, Measured, Metric, Of, claim, difference

@claim("mlp-gains", "A standard head gains gold", source="a package", heads=["mlp"], setting="None.")
def gains(cells: Cells) -> Measured:
    ends = cells.endpoints(Of("mlp", Metric("path", "mean")))
    return [difference(f"gain {ends.at}", cells.mean(ends.gold[..., 0], ends.clusters))], ""
"""
TAKEN = GOOD.replace('"mlp-gains"', '"C1"')
DATA = '''
from dataclasses import dataclass

from embrm.study.datasets.pool import PoolData
from embrm.world.mechanism import Mechanism

@dataclass(frozen=True, eq=False)
class Lamps(PoolData):
    """Pools of lamps."""

    @classmethod
    def identify(cls, config):
        return "lamps"

    @classmethod
    def open(cls, config):
        return super().open(config.model_copy(update={"pool": config.options["file"]}))
'''


@pytest.mark.parametrize("value", ["stranger_good", "stranger_good:gains"])
def test_claims_of_other_packages_come_after_one_s_own(install: Install, value: str) -> None:
    install("stranger_good", GOOD, f"[embrm.claims]\ngains = {value}\n")
    assert claims.names() == [*shipped(), "mlp-gains"]
    assert claims.describe("mlp-gains") == "A standard head gains gold"
    assert claims.heads_of("mlp-gains") == {"mlp"}
    truth = {("mlp", Metric("path", "mean"), simulated.HEAVY): simulated.rising(2)}
    results = simulated.results(truth, rng=np.random.default_rng(0))
    found = {finding.id: finding for finding in claims.findings(results, draws=200)}
    assert list(found) == claims.names()
    assert found["mlp-gains"].verdict == "supported"
    assert found["mlp-gains"].reason.startswith("gain at 2 nats ")
    assert claims.differing(list(found.values()), {"mlp-gains": frozenset({"supported"})}) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", r"\(ModuleNotFoundError: No module named 'nothing_of_that_name'\); repair the"),
        (TAKEN, r"\(OptionError: the id 'C1' is taken by a claim of embrm.study.claims.hacking; give the claim of str"),
        ("", "stranger_bad enters no claim; put @claim from embrm.study.claims above its functions"),
    ],
)
def test_a_faulty_package_is_named_and_the_rest_works(install: Install, source: str, message: str) -> None:
    install("stranger_bad", source, "[embrm.claims]\nbad = stranger_bad\n")
    install("stranger_good", GOOD, "[embrm.claims]\ngains = stranger_good\n")
    with pytest.warns(UserWarning, match=rf"^package 'stranger_bad' 1.2: .*{message}"):
        assert claims.names() == [*shipped(), "mlp-gains"]
    found = claims.findings(Results(simulated.config(), []))
    assert {f.id: f.claim for f in found}["C1"].startswith("A standard reward model over-optimises")


def test_an_id_belongs_to_one_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CLAIMS, "mine", raising=False)
    enter = claim("mine", "text", source="me", heads=["mlp"], setting="None.")

    def first(cells: Cells) -> Measured:
        return [], ""

    def second(cells: Cells) -> Measured:
        return [], ""

    enter(first)
    enter(first)  # a module that is run again
    try:
        assert claims.get("mine").measure is first
        assert claims.names()[-1] == "mine"
        with pytest.raises(OptionError, match=f"the id 'mine' is taken by a claim of {__name__}; give the claim of"):
            enter(second)
    finally:
        del CLAIMS["mine"]


def test_a_kind_of_data_set_comes_from_another_package(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.small_study import write_pool

    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    install("stranger_lamps", DATA, "[embrm.datasets]\nlamps = stranger_lamps:Lamps\n")
    assert registry.names() == ["fast", "files", "lamps", "language_model", "pool", "world"]
    assert registry.describe("lamps") == "Pools of lamps."
    file = write_pool(tmp_path / "lamps.jsonl")
    asked = f"datasets.0={{name: mine, kind: lamps, pool: unused, embedder: hashing, options: {{file: {file}}}}}"
    config = load_config("ci", [asked]).datasets[0]
    assert kind_of(config).__name__ == "Lamps"
    assert identify(config) == "lamps"
    data = open_dataset(config)
    assert len(data.train(mechanism=Mechanism(), flips=0.0, pairs=20, seed=0)) == 20
