"""Every command on good input: what it prints, what it writes, and that its examples run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from embrm import load_model, read_candidates
from embrm.cli import embrm as group
from embrm.embedders import get
from embrm.heads import get as get_head
from tests.cli.conftest import Result

Run = Callable[..., Result]
QUICK = ("cache", "curve", "detect", "doctor", "embed", "evaluate", "fit", "list", "score", "select")


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        parts = getattr(command, "commands", None)
        yield from ((f"{name} {part}", c) for part, c in parts.items()) if parts else [(name, command)]


def examples(command: click.Command) -> list[str]:
    return re.findall(r"^\s+embrm (.+)$", command.help or "", flags=re.MULTILINE)


LONG = {
    "data build": "embeds 63 000 texts, a quarter of an hour; tests/unit/test_data.py remakes a sample",
    "data lm": "trains for many minutes; tests/unit/test_world_lm.py trains a little",
}
ENDLESS = pytest.mark.skip(reason="serves until it is stopped; test_serve.py and test_demo_command.py stop it")


def mark(name: str, line: str) -> pytest.MarkDecorator | tuple[()]:
    if name in LONG:
        return pytest.mark.skip(reason=LONG[name])
    if name in ("serve", "demo") and "--static" not in line:
        return ENDLESS
    return () if name.partition(" ")[0] in QUICK else pytest.mark.slow


ALL = [
    pytest.param(line, id=line, marks=mark(name, line)) for name, command in commands() for line in examples(command)
]


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_a_description_an_example_and_the_common_options(name: str, command: click.Command) -> None:
    assert (command.help or "").partition("\n")[0].endswith(".")
    assert examples(command)
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--seed"} <= options


@pytest.mark.parametrize("line", ALL)
def test_the_examples_of_the_help_run(line: str, embrm: Run) -> None:
    result = embrm(*shlex.split(line.replace("-o model", "-o new")))  # `model` is needed by the other examples
    assert result.code in ((0, 3) if line.startswith("detect") else (0,)), result.err


def test_the_help_names_every_command_and_an_example_stays_on_its_line(embrm: Run) -> None:
    listed = embrm("--help")
    assert listed.code == 0
    for name in QUICK:
        assert re.search(rf"^  {name} +[A-Z].+", listed.out, flags=re.MULTILINE)
    assert "\n    embrm fit prefs.jsonl --head linear -o model\n" in embrm("fit", "--help").out


@pytest.mark.parametrize("words", ["['--help']", "['list']", "['fit', '--help']"])
def test_help_and_list_load_nothing_heavy(words: str) -> None:
    heavy = "('torch', 'pyro', 'sklearn', 'scipy', 'transformers', 'sentence_transformers', 'pyarrow', 'altair')"
    code = (
        f"import sys, embrm.cli as c; c.run({words}); print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_list_describes_every_member(embrm: Run) -> None:
    found = embrm("list", "--json").json
    families = {"heads", "selectors", "detectors", "embedders", "datasets", "experiments", "claims"}
    assert set(found) == {*families, "warnings"}
    assert found["datasets"]["files"].startswith("Pairs with labels of their own")
    assert list(found["claims"]) == [f"C{i}" for i in range(1, 30)]
    assert found["claims"]["C1"].startswith("A standard reward model over-optimises")
    assert found["heads"]["linear"].startswith("Bradley–Terry")
    assert all(text.endswith(".") for family in ("heads", "selectors", "datasets") for text in found[family].values())
    assert "worst_case" in embrm("list", "selectors").out


def test_fit_measures_held_out_prompts_and_remembers_its_embedder(embrm: Run) -> None:
    result = embrm("fit", "prefs.jsonl", "--head", "linear", "-o", "m", "--embedder", "hashing", "--json")
    record = result.json["record"]
    assert result.json["embedder"]["recipe"] == {"name": "hashing", "options": {"dimension": 512}}
    assert record["held_out"]["accuracy"]["estimate"] > 0.8
    assert record["held_out"]["pairs"] + load_model("m").record["pairs"] == 80
    assert embrm("score", "m", "pools.jsonl").code == 0  # with hashing, though nobody said so again


def test_fit_is_the_same_for_a_seed_and_another_for_another(embrm: Run) -> None:
    def weights(name: str, seed: str) -> bytes:
        fit = embrm("fit", "prefs.jsonl", "--head", "linear", "-o", name, "--embedder", "hashing", "--seed", seed)
        assert fit.code == 0
        return Path(name, "model.safetensors").read_bytes()

    assert weights("a", "1") == weights("b", "1") != weights("c", "2")


def test_fit_replaces_a_model_that_stands_there(embrm: Run) -> None:
    for head in ("linear", "mlp"):
        options = () if head == "linear" else ("--set", "epochs=1")
        assert embrm("fit", "prefs.jsonl", "--head", head, "-o", "m", "--embedder", "hashing", *options).code == 0
    assert json.loads(Path("m/config.json").read_text())["name"] == "mlp"


def test_precomputed_features_give_what_embedding_gives(embrm: Run) -> None:
    assert embrm("embed", "prefs.jsonl", "-o", "f.npy", "--embedder", "hashing").code == 0
    given = embrm("evaluate", "model", "prefs.jsonl", "--features", "f.npy", "--json").json
    made = embrm("evaluate", "model", "prefs.jsonl", "--json").json
    assert given == made
    assert embrm("fit", "prefs.jsonl", "--features", "f.npy", "--head", "linear", "-o", "m").code == 0
    refused = embrm("evaluate", "m", "prefs.jsonl")
    assert refused.code == 2
    assert "give such vectors with --features" in refused.err


def test_standard_input_gives_what_the_file_gives(embrm: Run, workspace: Path) -> None:
    data = (workspace / "pools.jsonl").read_bytes()
    assert embrm("score", "model", "-", stdin=data).out == embrm("score", "model", "pools.jsonl").out


def test_scores_are_the_model_s(embrm: Run) -> None:
    lines = [json.loads(line) for line in embrm("score", "model", "pools.jsonl").out.splitlines()]
    data = read_candidates("pools.jsonl", embedder=get("hashing")())
    reward = load_model("model").score(data.features).centred()
    np.testing.assert_allclose([row["score"] for row in lines], reward.mean)
    np.testing.assert_allclose([row["sd"] for row in lines], reward.sd)
    assert [(row["id"], row["index"]) for row in lines[5:8]] == [("q0", 5), ("q1", 0), ("q1", 1)]


def test_select_writes_the_best_response_of_each_prompt(embrm: Run) -> None:
    scores = embrm("score", "model", "pools.jsonl", "--json").json["rows"]
    assert embrm("select", "model", "pools.jsonl", "-o", "chosen.jsonl.gz").out == "20 rows → chosen.jsonl.gz\n"
    chosen = embrm("select", "model", "pools.jsonl", "--json").json["rows"]
    pools = [json.loads(line) for line in Path("pools.jsonl").read_text().splitlines()]
    for pool, row in zip(pools, chosen, strict=True):
        mine = [s["score"] for s in scores if s["id"] == pool["id"]]
        assert row["index"] == int(np.argmax(mine))
        assert row["response"] == pool["responses"][row["index"]]
        assert row["gold"] == pool["gold"][row["index"]]
        assert row["policy"] == f"p{row['index']}"
    assert embrm("detect", "model", "prefs.jsonl", "chosen.jsonl.gz", "--detector", "csi").code == 0


def test_evaluate_pools_prints_the_curve_and_draws_it(embrm: Run) -> None:
    result = embrm("evaluate", "model", "pools.jsonl", "--figure", "curve.svg", "--json")
    found = result.json
    assert found["sizes"] == [1, 2, 3, 4, 5, 6]
    gold, oracle = (np.array(found["reward"][name]["estimate"]) for name in ("gold", "oracle"))
    random = np.array(found["reward"]["random"]["estimate"])
    assert (np.diff(gold) > 0).all()
    assert (gold[1:] < oracle[1:]).all()
    np.testing.assert_allclose(gold[0], random[0])
    assert found["of_oracle"]["estimate"][0] is None
    svg = Path("curve.svg").read_text()
    assert all(name in svg for name in ("gold", "proxy", "oracle", "random", "KL from the reference policy"))
    assert embrm("evaluate", "model", "pools.jsonl", "--figure", "curve.png").code == 0
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")
    table = embrm("evaluate", "model", "pools.jsonl").out.splitlines()
    assert [line.split()[0] for line in table[2:]] == ["1", "2", "4", "6"]


def test_the_cache_is_shown_and_pruned(embrm: Run, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(workspace / "own"))
    assert embrm("cache", "info", "--json").json["vectors"] == 0
    assert embrm("embed", "prefs.jsonl", "-o", "f.npy").code == 0
    assert embrm("cache", "info", "--json").json["vectors"] == 160
    assert "160 vectors there" in embrm("cache", "info").out
    assert "160 vectors removed" in embrm("cache", "prune").out
    assert embrm("cache", "info", "--json").json["vectors"] == 0


def test_options_of_recipes_are_typed(embrm: Run) -> None:
    fit = ("fit", "prefs.jsonl", "-o", "m", "--embedder", "hashing", "--embedder-set", "dimension=64")
    assert embrm(*fit, "--head", "linear", "--set", "prior_precision=1e2", "--set", "members=2").code == 0
    model = load_model("m")
    assert model.head.options()["prior_precision"] == 100.0
    assert (model.members, model.width) == (2, 64)
    assert embrm("evaluate", "m", "prefs.jsonl").code == 0  # the embedder's options are remembered too


def test_options_of_options_are_typed_with_dots(embrm: Run) -> None:
    fit = ("fit", "prefs.jsonl", "-o", "m", "--embedder", "hashing", "--head", "ensemble", "--set", "members=2")
    assert embrm(*fit, "--set", "base=linear", "--set", "base.prior_precision=7", "--holdout", "0").code == 0
    model = load_model("m")
    assert model.head == get_head("ensemble")(base=get_head("linear")(prior_precision=7.0), members=2)
    wrong = embrm(*fit, "--set", "base=linear", "--set", "base.prior_precison=7")
    assert wrong.code == 2
    assert "base: head 'linear' has no option 'prior_precison'. Did you mean 'prior_precision'?" in wrong.err


def test_an_ensemble_scores_texts_with_its_own_embedder_and_keeps_its_record(embrm: Run) -> None:
    """384 columns are as many as minilm gives, which must not be taken for it."""
    wide = ("--embedder", "hashing", "--embedder-set", "dimension=384")
    fit = ("fit", "prefs.jsonl", "--head", "ensemble", "--set", "base=linear", "--set", "diversity=bootstrap", *wide)
    assert embrm(*fit, "-o", "m").code == 0
    assert load_model("m").record["held_out"]["pairs"] > 0
    found = [row["score"] for row in embrm("score", "m", "pools.jsonl", "--json").json["rows"]]
    data = read_candidates("pools.jsonl", embedder=get("hashing")(dimension=384))
    np.testing.assert_allclose(found, load_model("m").score(data.features).centred().mean, rtol=1e-6)
    assert embrm("embed", "prefs.jsonl", "-o", "f.npy", *wide).code == 0
    assert embrm("fit", "prefs.jsonl", "--features", "f.npy", "--head", "ensemble", "-o", "n").code == 0
    refused = embrm("score", "n", "pools.jsonl")
    assert (refused.code, "give such vectors with --features" in refused.err) == (2, True)
    assert embrm("score", "m", "pools.jsonl", "--embedder-set", "dimension=383").code == 1  # changes the model's own
