"""What a study's configuration accepts, and how it refuses the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from embrm.errors import OptionError, UnknownNameError
from embrm.study.config import CONFIGS, load_config, names


def test_the_shipped_configurations_load() -> None:
    assert names() == ["ci", "laptop"]
    assert [load_config(name).pairs for name in names()] == [1000, 4000]


def test_overrides_reach_inside() -> None:
    config = load_config("laptop", ["pairs=500", "heads.2.options.beta=0.5", "heads.0={name: mlp, label: mine}"])
    assert config.pairs == 500
    assert config.heads[2].options == {"members": 5, "beta": 0.5}
    assert config.heads[0].title == "mine"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pair=500", r"no key 'pair'. Did you mean 'pairs'\?"),
        ("heads.0.option={}", r"no key 'heads.0.option'. Did you mean 'options'\?"),
        ("pairs=3", "pairs: Input should be greater than or equal to 10, got 3"),
        ("flips=0.7", "flips: Input should be less than 0.5"),
        ("seeds=[1]", "seeds: List should have at least 2 items"),
        ("pairs", "'pairs' is not KEY=VALUE"),
        ("heads.9.name=mlp", "'heads.9.name' leads nowhere"),
        ("heads.1={name: linear}", "names must differ, got linear, linear, inform"),
    ],
)
def test_faults_are_named(override: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_config("laptop", [override])


def test_a_misspelt_head_is_refused_before_any_work() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'inform'"):
        load_config("laptop", ["heads.0.name=infrom"])


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
