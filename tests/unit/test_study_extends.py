"""Configurations that say only what differs from another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from embrm.errors import OptionError, UnknownNameError
from embrm.study.config import load_config, names
from embrm.study.config_files import CONFIGS, read_values

# What each shipped configuration comes to; one that is changed is changed in the open.
WHOLE = {
    "quick": "1f85d7c384f0e8ff2b53f7a874a5e6fc74b5b11291ea9716e6bbd527f2444fb4",
    "ci": "82bfd3f9f544c90ed2d288f7037c5a49916fb009b498535f0b3bd900fa83232c",
    "full": "56280656a8ec5e6357641cedbbc92c6676d467299b5fc1d27ca149388a0eb27e",
    "gpu": "08ff7e2e4fc3fd7ad828e9f22312fab32943fea952269831fcc85b1bf9a62ca3",
    "gpu-tiny": "868cb1dbb8b3930f06bd44696464c99e637e2b16df1b2f2ce052df9f685dd862",
    "laptop": "dbc382b71783bc4d8ea8932416f269306dc402ea0e25dcc04f1823d85330d1d8",
    "pool": "b84061126e87183ca01179ec001d983057dc1e3fb744c4aa65f8acb95d505779",
}


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", names())
def test_the_shipped_configurations_are_what_they_were(name: str) -> None:
    config = load_config(name, ["datasets.0.pool=pool.jsonl"] if name == "pool" else [])
    values = json.dumps(config.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    assert hashlib.sha256(values.encode()).hexdigest() == WHOLE[name]


def test_all_but_one_say_only_what_differs() -> None:
    extending = {name for name in names() if "\nextends: " in (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")}
    assert extending == set(names()) - {"laptop"}


def test_mappings_merge_lists_are_replaced_and_overrides_come_last(tmp_path: Path) -> None:
    base = load_config("full")
    path = write(tmp_path / "mine.yaml", "extends: full\nseeds: [7]\ntuning: {budget: 9}\nrl: null\n")
    mine = load_config(path)
    assert (mine.seeds, mine.rl) == ([7], None)
    assert (mine.tuning.budget, mine.tuning.pairs) == (9, base.tuning.pairs)
    assert mine.model_copy(update={"seeds": base.seeds, "tuning": base.tuning, "rl": base.rl}) == base
    assert load_config(path, ["tuning.budget=1", "heads.1.options.members=3"]).tuning.budget == 1
    assert load_config(path, ["heads.1.options.epochs=3"]).heads[1].options == {"epochs": 3}


def test_a_head_or_rule_is_changed_taken_out_or_added_by_its_title(tmp_path: Path) -> None:
    text = (
        "extends: full\nheads: {mlp x5: {options: {members: 3}}, hmc: null, wide: {name: mlp}}\nrules: {soft: null}\n"
    )
    base, mine = load_config("full"), load_config(write(tmp_path / "mine.yaml", text))
    assert mine.titles == [*(title for title in base.titles if title != "hmc"), "wide"]
    assert {head.title: head.options for head in mine.heads}["mlp x5"] == {"members": 3}
    assert [rule.label for rule in mine.rules] == [rule.label for rule in base.rules if rule.label != "soft"]


def test_a_file_extends_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "first.yaml", "extends: ci\npairs: [500]\n")
    path = write(tmp_path / "below" / "second.yaml", "extends: first.yaml\nseeds: [3]\n")
    found = load_config(path)
    assert (found.pairs, found.seeds, found.flips) == ([500], [3], load_config("ci").flips)


def test_a_circle_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "extends: b.yaml\n")
    write(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(OptionError, match=r"a.yaml extends .*b.yaml extends .*a.yaml: a configuration cannot extend"):
        read_values(path)
    with pytest.raises(OptionError, match="a configuration cannot extend itself; take 'extends' out"):
        read_values(write(tmp_path / "c.yaml", "extends: c.yaml\n"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "extends: laptob",
            UnknownNameError,
            r"mine.yaml extends 'laptob': no configuration named 'laptob', and no .*ci,",
        ),
        ("extends: [ci, pool]", OptionError, r"extends must name one configuration, such as .*, got \['ci', 'pool'\]"),
        ("extends: ci\nheads: {mlp: {}}", OptionError, "mine.yaml: heads changes what is a list there"),
        ("extends: full\nheads: {mlp: 3}", OptionError, r"mine.yaml: heads: 'mlp' must be a mapping .*, got 3"),
        ("extends: full\nheads: {mlp: {opptions: {}}}", OptionError, r"no key 'heads.1.opptions'. Did you mean 'opt"),
    ],
)
def test_faults_are_named(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        load_config(write(tmp_path / "mine.yaml", text))
