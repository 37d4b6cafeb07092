"""`embrm generate`: pools of a language model, from a file of prompts to a scored choice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result, write_lines

Run = Callable[..., Result]
GENERATE = ("generate", "prompts.jsonl", "-o", "pool.jsonl", "--lm", "lm", "--max-new-tokens", "12")


def rows(file: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_pools_are_written_and_other_commands_take_them(embrm: Run) -> None:
    result = embrm(*GENERATE, "-n", "3", "--gold", "rm", "--json")
    assert result.code == 0, result.err
    assert result.json["responses"] == 9
    pools = rows("pool.jsonl")
    assert [pool["id"] for pool in pools] == ["p0", "p1", "p2"]
    assert all(len(pool["responses"]) == len(pool["gold"]) == 3 for pool in pools)  # type: ignore[arg-type]
    assert embrm("evaluate", "model", "pool.jsonl").code == 0
    assert embrm("select", "model", "pool.jsonl").code == 0


def test_the_seed_decides(embrm: Run) -> None:
    written = []
    for seed in ("1", "1", "2"):
        assert embrm(*GENERATE, "--seed", seed).code == 0
        written.append(Path("pool.jsonl").read_bytes())
    assert written[0] == written[1] != written[2]


def test_messages_and_options_reach_the_model(embrm: Run) -> None:
    prompt = [{"role": "system", "content": "Be short."}, {"content": "Why?"}]
    write_lines(Path("prompts.jsonl"), [{"prompt": prompt}])
    assert embrm(*GENERATE, "-n", "20", "--temperature", "0.5", "--stop", "e", "--stop", " ").code == 0
    [pool] = rows("pool.jsonl")
    assert pool["prompt"] == [prompt[0], {"role": "user", "content": "Why?"}]
    assert not any("e" in text or " " in text for text in pool["responses"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--gold-label", "1"), 2, "--gold-label chooses a logit of the gold's model; give --gold too"),
        (("--temperature", "0"), 2, "n must be at least 1, and 1 at temperature 0"),
        (("--lm", "./absent"), 2, "neither a folder that exists nor an id on the hub"),
        (("--gold", "rm", "--gold-label", "1"), 2, "has a single logit, so label=1 chooses none"),
        (("--engine", "vllm"), 1, "pip install 'embrm[vllm]'"),
    ],
)
def test_bad_options_are_explained(
    embrm: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm", None)
    result = embrm(*GENERATE, *options)
    assert result.code == code
    assert message in result.err
    assert not Path("pool.jsonl.parts").exists()


def test_the_world_s_own_model_needs_no_file_and_has_gold(embrm: Run) -> None:
    from embrm.world.judge import WorldGold, world_prompts

    options = ("--max-new-tokens", "3", "--batch-size", "512", "-n", "1")
    assert embrm("generate", "-o", "pool.jsonl", "--lm", "world", *options).code == 0
    pools, gold = rows("pool.jsonl"), WorldGold()
    asked = world_prompts(gold.world)[1]
    assert [pool["prompt"] for pool in pools] == asked
    texts = [pool["responses"][0] for pool in pools]  # type: ignore[index]
    assert [pool["gold"][0] for pool in pools] == gold(asked, texts).tolist()  # type: ignore[index]
    refused = embrm("generate", "-o", "pool.jsonl", "--lm", "lm")
    assert (refused.code, "only --lm world has prompts of its own" in refused.err) == (2, True)


def test_a_row_without_a_prompt_is_named(embrm: Run) -> None:
    write_lines(Path("prompts.jsonl"), [{"prompt": "Why?"}, {"promt": "Why?"}])
    result = embrm(*GENERATE)
    assert result.code == 1
    assert "prompts.jsonl line 2 has no 'prompt'" in result.err
    assert "rename 'promt' to 'prompt'" in result.err
