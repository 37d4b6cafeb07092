"""What a study's configuration accepts, and how it refuses the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from embrm.errors import OptionError, UnknownNameError
from embrm.heads import registry
from embrm.study.config import load_config, names
from embrm.study.config_absent import AbsentWarning
from embrm.study.config_files import CONFIGS
from embrm.world.mechanism import Mechanism

PLAIN = ["rl=null", "detection.heads=[]", "rules=[{name: mean}]"]


def test_the_shipped_configurations_load() -> None:
    assert {"ci", "laptop"} <= set(names())
    laptop = load_config("laptop")
    assert len(laptop.seeds) >= 5
    full = load_config("full")
    assert len(full.seeds) >= 20
    experimented = {"annotators", "max_margin"}  # what they learn from is made by the experiments
    assert set(registry.names()) - experimented <= {head.name for head in full.heads}
    assert {head.name for head in laptop.heads} <= {head.name for head in full.heads}


def test_a_grid_becomes_one_untuned_head_for_each_point() -> None:
    config = load_config("laptop", ["heads=[{name: inform, grid: {beta: [0.1, 0.2], latent_dim: [8]}}]", *PLAIN])
    assert config.titles == ["inform beta=0.1 latent_dim=8", "inform beta=0.2 latent_dim=8"]
    assert config.heads[1].options == {"beta": 0.2, "latent_dim": 8}
    assert not any(head.tuned for head in config.heads)


def test_one_head_may_stand_for_different_cells_but_a_title_means_one_recipe() -> None:
    twice = "heads=[{name: mlp}, {name: mlp, seeds: [7], pairs: [500]}]"
    assert load_config("laptop", [twice, *PLAIN]).titles == ["mlp"]
    with pytest.raises(OptionError, match="heads: mlp is there twice"):
        load_config("laptop", ["heads=[{name: mlp}, {name: mlp, options: {members: 5}}]", *PLAIN])


def test_a_head_gets_the_rules_that_are_for_it() -> None:
    config = load_config("ci")
    labels = {head.title: [rule.label for rule in config.rules_of(head)] for head in config.heads}
    assert labels["inform"] == ["mean", "worst_case", "uncertainty_weighted", "ibl 0.001", "ibl 0.01"]
    assert labels["mlp"] == ["mean", "worst_case", "uncertainty_weighted"]
    own = config.heads[0].model_copy(update={"rules": ["ibl 0.01"]})
    assert [rule.label for rule in config.rules_of(own)] == ["ibl 0.01"]


def test_overrides_reach_inside() -> None:
    config = load_config("laptop", ["pairs=[500]", "heads.3.options.beta=0.5", "tuning.budget=7"])
    assert config.pairs == [500]
    assert config.heads[3].options == {"members": 5, "beta": 0.5}
    assert config.tuning.budget == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pair=[500]", r"no key 'pair'. Did you mean 'pairs'\?"),
        ("heads.0.option={}", r"no key 'heads.0.option'. Did you mean 'options'\?"),
        ("rl.stepz=3", r"no key 'rl.stepz'. Did you mean 'steps'\?"),
        ("detection.point=3", r"no key 'detection.point'. Did you mean 'points'\?"),
        ("pairs=[3]", "pairs.0: Input should be greater than or equal to 10, got 3"),
        ("flips=[0.7]", "flips.0: Input should be less than 0.5"),
        ("seeds=[]", "seeds: List should have at least 1 item"),
        ("pairs", "'pairs' is not KEY=VALUE"),
        ("heads.99.name=mlp", "'heads.99.name' leads nowhere"),
        ("rules.0.title=ibl 0.01", "rules: ibl 0.01 is there twice"),
        ("rules.1.heads=[mpl]", r"rule 'worst_case': heads: no 'mpl'. Did you mean 'mlp'\?"),
        ("heads.0.rules=[men]", r"head 'linear': rules: no 'men'. Did you mean 'mean'\?"),
        ("rules.1.penalty=latent", "rule 'worst_case': only 'penalised' and 'imitation' take a penalty"),
        ("rules.0={name: penalised}", "rule 'penalised' needs a penalty; there is 'latent'"),
        ("rules.0.options={size: 3}", "rule 'mean size=3' has no option 'size'"),
        ("detection.heads=[infrom]", r"detection.heads: no 'infrom'. Did you mean 'inform'\?"),
        ("rl.heads=[infrom]", r"rl.heads: no 'infrom'. Did you mean 'inform'\?"),
        ("rl.dataset=wrold", r"rl.dataset .*no 'wrold'. Did you mean 'world'\?"),
        ("datasets.0={name: mine, kind: pool}", "dataset 'mine': kind 'pool' needs 'pool'"),
        ("datasets.0={name: mine, kind: files, pool: x}", "kind 'files' needs 'pairs'"),
        ("datasets.0={name: mine, kind: files, pool: x, needs: [y]}", "no key 'datasets.0.needs'"),
        ("datasets.0={name: mine, kind: language_model, prompts: x}", "kind 'language_model' needs 'policy'"),
    ],
)
def test_faults_are_named(override: str, message: str) -> None:
    plain = ["experiments=[]", *([] if override.startswith("rl") else ["rl=null"])]
    with pytest.raises(OptionError, match=message):
        load_config("full", [*plain, override])


def test_a_misspelt_head_is_refused_before_any_work() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'inform'"):
        load_config("full", ["heads.0.name=infrom"])


def test_a_misspelt_kind_of_data_set_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no kind of data set named 'pol'. Did you mean 'pool'\?"):
        load_config("full", ["datasets.0={name: mine, kind: pol}", "rl=null", "experiments=[]"])


def test_a_file_serves_as_well_as_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((CONFIGS / "ci.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert load_config(str(path)) == load_config("ci")
    path.write_text("- a list", encoding="utf-8")
    with pytest.raises(OptionError, match="must hold keys and values"):
        load_config(str(path))
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(OptionError, match="is not YAML"):
        load_config(str(path))
    with pytest.raises(UnknownNameError, match="no configuration named 'laptob'"):
        load_config("laptob")


def test_a_configuration_nested_without_end_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "deep.yaml"
    file.write_text("seeds: " + "[" * 100_000, encoding="utf-8")
    with pytest.raises(OptionError, match="nested more than 50 deep"):
        load_config(str(file))


def test_a_mechanism_is_checked_and_taken_out_with_null(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: ci\nmechanisms: {fair: null, narrow: {coverage: 0.3, unseen: [padding]}}\n")
    config = load_config(str(path))
    assert list(config.mechanisms) == ["biased", "narrow"]
    assert config.mechanism("narrow") == Mechanism(coverage=0.3, unseen=("padding",))
    for faulty, why in (
        ("mechanisms={a: {bios: 1}}", "mechanism 'a' has no option 'bios'. Did you mean 'bias'"),
        ("mechanisms={a: {coverage: 0}}", r"mechanism 'a': coverage must be inside \(0, 1\], got 0.0"),
        ("mechanisms={a: {confounding: -1}}", "mechanism 'a': confounding must be >= 0"),
        ("mechanisms={}", "mechanisms: Dictionary should have at least 1 item"),
        ("heads=[{name: mlp, mechanisms: [biassed]}]", "head 'mlp': mechanisms: no 'biassed'. Did you mean 'biased'"),
    ):
        with pytest.raises(OptionError, match=why):
            load_config("ci", [faulty, "rules=[{name: mean}]", "detection.heads=[]"])
    with pytest.raises(OptionError, match=r"rl\.mechanisms: no 'confused'. Did you mean 'confounded'"):
        load_config("full", ["rl.mechanisms=[fair, confused]"])


def test_what_an_override_takes_out_takes_along_what_names_it() -> None:
    with pytest.warns(AbsentWarning, match="left out, .*: rule 'robust 0'.*rule 'ibl 0.03', .*rl, detection") as told:
        config = load_config("full", ["heads=[{name: linear}]"])
    assert len(told) == 1
    assert {"mean", "soft", "worst_case"} <= {rule.label for rule in config.rules}
    assert {rule.label: rule.heads for rule in config.rules}["soft"] == ["linear"]
    assert config.rl is None
    with pytest.warns(AbsentWarning, match="head 'hmc'"):
        config = load_config("full", ["mechanisms={fair: {}}"])
    assert "hmc" not in config.titles
    assert config.rl is not None
    assert config.rl.mechanisms == ["fair"]
    with pytest.warns(AbsentWarning, match="head 'hmc', .*rl"):
        assert load_config("full", ["mechanisms={narrow: {coverage: 0.3}}"]).rl is None
    with pytest.warns(AbsentWarning, match="head 'embedder ensemble', experiment 'steps', .*rl"):
        config = load_config("full", ["datasets=[{name: other}]"])
    with pytest.raises(OptionError, match=r"rule 'soft': heads: no 'linaer'\. Did you mean 'linear'"):
        load_config("full", ["rules=[{name: soft, heads: [linaer]}]", "rl=null"])
