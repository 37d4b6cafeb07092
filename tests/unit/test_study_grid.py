"""The cells of a study: which there are, what their keys depend on, which are computed together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embrm.errors import OptionError
from embrm.study.config import parse
from embrm.study.results import Cell
from embrm.study.runner.plan import CHUNK, TUNING_SEED, Plan, check_heads, plan
from tests.small_study import on_pool, write_pool


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    return write_pool(tmp_path / "lamps.jsonl")


def planned(pool: Path, **changes: Any) -> Plan:
    return plan(parse(on_pool(pool, **changes)))


def test_there_is_a_cell_for_everything_that_is_asked_for(pool: Path) -> None:
    found = planned(pool, flips=[0.0, 0.25], pairs=[60, 80])
    kinds = Counter((cell.kind, cell.head) for cell in found.keys)
    assert kinds == {
        ("control", "oracle"): 1,
        ("control", "length"): 1,
        ("control", "random"): 1,
        ("tuning", "linear"): 4,  # one for each mechanism and flip fraction
        ("tuning", "mlp"): 2,
        ("fit", "linear"): 16,  # 2 seeds, biases, flips, sizes
        ("fit", "mlp"): 8,  # it asks for one mechanism
    }
    assert len(set(found.keys.values())) == len(found.keys)


def test_options_are_chosen_with_the_nearest_size_and_a_seed_of_their_own(pool: Path) -> None:
    seeds = [TUNING_SEED, 3]
    found = planned(
        pool,
        seeds=seeds,
        pairs=[20, 60, 90],
        tuning={"pairs": 70},
        mechanisms={"fair": {}, "fond": {"bias": 0.5}, "biased": {"bias": 1.0}},
    )
    tuning = {cell for cell in found.keys if cell.kind == "tuning"}
    assert {(cell.pairs, cell.mechanism) for cell in tuning} == {(60, title) for title in ("fair", "fond", "biased")}
    assert {cell.seed for cell in tuning} == {TUNING_SEED + 1}


def test_a_head_that_is_not_tuned_is_taken_as_it_is(pool: Path) -> None:
    found = planned(pool, heads=[{"name": "linear", "tuned": False}])
    assert {cell.kind for cell in found.keys} == {"control", "fit"}
    assert all(not batch.tuning for batch in found.batches)


def test_batches_share_data_head_and_size_and_hold_at_most_so_many_fits(pool: Path) -> None:
    found = planned(pool, seeds=list(range(23)), flips=[0.0, 0.1], pairs=[60, 80], heads=[{"name": "linear"}])
    fits = [batch for batch in found.batches if batch.kind == "fit"]
    assert [len(batch.cells) for batch in fits] == [20, 3] * 8  # of each size, mechanism and flip fraction
    assert max(len(batch.cells) for batch in fits) <= CHUNK
    for batch in fits:
        assert len({(cell.dataset, cell.head, cell.pairs, *cell.labelling) for cell in batch.cells}) == 1
        assert set(batch.tuning) == {cell.labelling for cell in batch.cells}
    more = planned(pool, seeds=list(range(25)), flips=[0.0, 0.1], pairs=[60, 80], heads=[{"name": "linear"}])
    assert found.keys.items() <= more.keys.items()  # seeds that are added at the end leave full batches as they are
    assert {*map(str, fits[::2])} <= {*map(str, more.batches)}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"device": "cpu"}, set()),
        ({"core_seconds": 1.0}, set()),
        ({"seeds": [0, 1, 2]}, set()),  # new cells, and the old ones stay
        ({"kl_points": 4}, {"control", "linear", "mlp"}),
        ({"sizes": [1, 2]}, {"control", "linear", "mlp"}),
        ({"tuning": {"budget": 1, "pairs": 60}}, {"tuning", "linear", "mlp"}),
        # The new rule is applied to the head that takes all rules.
        ({"rules": [{"name": "mean"}, {"name": "worst_case"}, {"name": "median"}]}, {"linear"}),
        ({"detection": {"heads": ["mlp"], "pairs": 60}}, {"mlp"}),
        ({"detection": {"heads": ["mlp"], "pairs": 60, "flips": [0.4]}}, set()),  # no model is looked at
        ({"detection": {"heads": ["mlp"], "pairs": 80}}, set()),  # nor one of that size
    ],
)
def test_keys_change_with_what_the_measurement_depends_on(
    pool: Path, change: dict[str, Any], changed: set[str]
) -> None:
    before, after = planned(pool).keys, planned(pool, **change).keys
    differ = {cell for cell, key in before.items() if after[cell] != key}
    assert {cell.head if cell.kind == "fit" else cell.kind for cell in differ} == changed


def test_keys_change_with_options_and_with_the_data(pool: Path, tmp_path: Path) -> None:
    before = planned(pool).keys
    cells = Cell("fit", "lamps", "mlp", 60, "biased", 0.25, 0), Cell("control", "lamps", "random")
    heads = [{"name": "linear"}, {"name": "mlp", "options": {"epochs": 3}}]
    after = planned(pool, heads=heads).keys
    assert [before[cell] == after[cell] for cell in cells] == [False, True]
    other = planned(write_pool(tmp_path / "other.jsonl", prompts=33)).keys
    assert not set(other.values()) & set(before.values())


def test_a_head_that_stands_twice_has_every_cell_once(pool: Path) -> None:
    heads = [{"name": "linear"}, {"name": "linear", "seeds": [1, 2, 3], "mechanisms": ["biased"]}]
    found = planned(pool, heads=heads)
    cells = [cell for batch in found.batches for cell in batch.cells]
    assert len(cells) == len(set(cells)) == 3 + 2 + 4 + 2
    tuning = {key for cell, key in found.keys.items() if cell.kind == "tuning"}
    assert {key for b in found.batches if b.kind == "fit" for key in b.tuning.values()} == tuning


def test_a_pair_file_has_one_bias_that_of_its_labels(pool: Path, tmp_path: Path) -> None:
    lines = [f'{{"prompt": "p{i // 2}", "chosen": "good {i}", "rejected": "bad {i}"}}\n' for i in range(80)]
    (tmp_path / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    files = {"name": "mine", "kind": "files", "pool": str(pool), "pairs": str(tmp_path / "pairs.jsonl")}
    found = planned(pool, datasets=[files | {"embedder": "hashing"}])
    assert {cell.mechanism for cell in found.keys if cell.kind == "fit"} == {"own labels"}


def test_live_training_has_a_choice_of_options_at_its_flips() -> None:
    rl = {"heads": ["linear"], "dataset": "world", "flips": 0.1, "pairs": 100, "steps": 3}
    values = {"seeds": [0], "datasets": [{"name": "world", "embedder": "hashing"}], "pairs": [100], "rl": rl}
    found = plan(parse(values | {"flips": [0.0], "heads": [{"name": "linear"}, {"name": "mlp"}]}))
    assert {cell.flips for cell in found.keys if cell.kind == "tuning" and cell.head == "linear"} == {0.0, 0.1}
    assert {cell.flips for cell in found.keys if cell.kind == "tuning" and cell.head == "mlp"} == {0.0}
    assert [cell for cell in found.keys if cell.kind == "rl"] == [Cell("rl", "world", "linear", 100, "biased", 0.1, 0)]


def test_live_training_has_a_run_for_each_mechanism_and_seed() -> None:
    rl = {"heads": ["linear"], "dataset": "world", "mechanisms": ["biased", "fair"], "seeds": [3, 5], "pairs": 100}
    values = {"seeds": [0], "datasets": [{"name": "world", "embedder": "hashing"}], "pairs": [100]}
    keys = [
        plan(parse(values | {"heads": [{"name": "linear"}], "flips": [0.25], "rl": rl | more})).keys
        for more in ({}, {"seeds": [3, 5, 6]}, {"policy": "causal_lm"}, {"rules": ["mean"]})
    ]
    found, longer, other, ruled = ({cell: key for cell, key in some.items() if cell.kind == "rl"} for some in keys)
    assert {(cell.mechanism, cell.seed) for cell in found} == {(m, s) for m in ("biased", "fair") for s in (3, 5)}
    assert len({*found.values()}) == 4
    assert longer.items() > found.items()  # seeds are added without doing anything again
    assert not {*other.values()} & {*found.values()}
    assert ruled.items() > found.items()  # nor are rules
    assert {(cell.mechanism, cell.seed, cell.rule) for cell in ruled.keys() - found.keys()} == {
        (mechanism, seed, "mean") for mechanism in ("biased", "fair") for seed in (3, 5)
    }
    assert not {ruled[cell] for cell in ruled.keys() - found.keys()} & {*found.values()}


def test_a_run_by_a_rule_is_of_the_heads_that_have_it() -> None:
    rl = {"heads": ["linear", "mlp"], "dataset": "world", "pairs": 100, "rules": ["robust"]}
    values = {"seeds": [0], "datasets": [{"name": "world", "embedder": "hashing"}], "pairs": [100], "rl": rl}
    rules = [{"name": "mean"}, {"name": "robust", "heads": ["mlp"]}]
    found = plan(parse(values | {"heads": [{"name": "linear"}, {"name": "mlp"}], "rules": rules})).keys
    assert sorted((cell.head, cell.rule) for cell in found if cell.kind == "rl") == [
        ("linear", ""),
        ("mlp", ""),
        ("mlp", "robust"),
    ]
    with pytest.raises(OptionError, match=r"rl\.rules"):
        parse(
            values | {"heads": [{"name": "linear"}, {"name": "mlp"}], "rl": rl | {"rules": ["robst"]}, "rules": rules}
        )


def test_a_part_holds_the_heads_whose_titles_match_and_the_controls(pool: Path) -> None:
    grid = {"name": "linear", "title": "ridge", "grid": {"prior_precision": [1.0, 10.0]}}
    found = planned(pool, heads=[{"name": "linear"}, {"name": "mlp"}, grid])
    part = found.only(frozenset({"mlp", "ridge prior_precision=*"}))
    assert {cell.head for cell in part.keys if cell.kind == "fit"} == {
        "mlp",
        "ridge prior_precision=1.0",
        "ridge prior_precision=10.0",
    }
    assert sum(cell.kind == "control" for cell in part.keys) == 3
    assert part.keys.items() <= found.keys.items()


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        ({"name": "linear"}, {"name": "worst_case"}),
        ({"name": "linear", "options": {"members": 2}}, {"name": "robust"}),
        (
            {"name": "ensemble", "options": {"base": {"name": "linear"}, "diversity": "bootstrap", "members": 2}},
            {"name": "robust", "title": "mine"},
        ),
    ],
)
def test_a_rule_that_a_head_does_not_allow_is_refused_where_it_was_asked_for(
    pool: Path, head: dict[str, Any], rule: dict[str, Any]
) -> None:
    label = rule.get("title", rule["name"])
    config = parse(on_pool(pool, heads=[head | {"rules": [label]}], rules=[rule]))
    with pytest.raises(OptionError, match=rf"head '{head['name']}' does not allow the rule '{label}'"):
        check_heads(config, config.heads)
    config = parse(on_pool(pool, heads=[head], rules=[rule]))
    check_heads(config, config.heads)  # nobody asked for it, so it is left out


def test_a_rule_that_a_head_allows_passes_under_any_view(pool: Path) -> None:
    several = {"base": {"name": "linear"}, "diversity": "embedder", "views": ["joint", "minilm:joint"], "members": 2}
    heads = [{"name": "ensemble", "options": several, "rules": ["worst_case", "penalised"]}]
    rules = [{"name": "worst_case"}, {"name": "penalised", "penalty": "latent"}, {"name": "robust"}]
    config = parse(on_pool(pool, heads=heads, rules=rules))
    check_heads(config, config.heads)
