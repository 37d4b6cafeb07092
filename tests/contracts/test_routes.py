"""One law over routes and layouts: a conversation has one reward, whoever asks for it and however it is written."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embrm import heads, load_model, read_pairs
from embrm.data import RowRules
from embrm.data.texts import Texts, read_texts
from embrm.embedders import get as embedder
from embrm.evaluation.scorer import Scorer
from embrm.integrations.openrlhf import make_reward_func, reward_server
from embrm.integrations.trl import RewardFunction
from embrm.integrations.verl import make_compute_score
from tests.written_rows import OTHER, WHOLE, Turns, file, rows_of

SEEN: Turns = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "How do I clean a kettle?"},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]},
    {"role": "tool", "content": "a leaflet"},
    {"role": "assistant", "content": "<think>hm</think>With vinegar."},
    {"role": "user", "content": "And then?"},
]
SAID = "<think>\nRinse, I think.\n</think>\n\nRinse it twice."


def template(turns: Turns) -> str:
    """Return turns in ChatML, a call of a tool as Qwen's template writes it."""
    out = ""
    for turn in turns:
        calls = [call["function"] for call in turn.get("tool_calls") or []]
        written = [
            f'<tool_call>\n{{"name": "{c["name"]}", "arguments": {c["arguments"]}}}\n</tool_call>' for c in calls
        ]
        content = "\n".join([turn["content"] or "", *written]).strip()
        out += f"<|im_start|>{turn['role']}\n{content}<|im_end|>\n"
    return f"{out}<|im_start|>assistant\n"


@pytest.fixture(scope="module", params=[False, True], ids=["system turns dropped", "system turns kept"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model whose training texts had system turns, which were kept or not."""
    folder = tmp_path_factory.mktemp("routes")
    rows = [
        {
            "prompt": [{"role": "system", "content": "Be kind. " * (i % 2)}, {"role": "user", "content": f"How {i}?"}],
            "chosen": f"good vinegar rinse {i}",
            "rejected": f"bad idea {i}",
        }
        for i in range(24)
    ]
    pairs = read_pairs(
        file(folder, rows), embedder=embedder("hashing")(dimension=64), keep_system=request.param or None
    )
    heads.get("linear")(prior_precision=1.0).fit(pairs, seed=0).save(folder / "model")
    return folder / "model"


def by_file(model: Path, path: Path) -> tuple[Texts, dict[str, float]]:
    """Return what a file of any layout gives, and the reward of each text."""
    scorer = Scorer.open(str(model))
    texts = read_texts(path, rules=scorer.rules(RowRules()))
    return texts, dict(zip(texts.responses, scorer.reward(texts).mean.tolist(), strict=True))


def by_routes(model: Path, asked: Turns, said: str) -> dict[str, float]:
    """Return the reward of one response by every route of a trainer."""
    start = template(asked)
    query = f"{start}{said}<|im_end|>"
    trl, openrlhf, verl = RewardFunction(model), make_reward_func(model), make_compute_score(model)
    messages = [{"role": "assistant", "content": said}]
    found: dict[str, Any] = {
        "TRL": trl([asked], [messages])[0],
        "TRL, templated": trl([start], [said])[0],
        "OpenRLHF": openrlhf([query], [start])["rewards"][0],
        "OpenRLHF without prompts": openrlhf([query], None)["rewards"][0],
        "verl": verl("data", said, None, {"prompt": asked}),
        "verl, templated": verl("data", said, None, {"prompt": start}),
    }
    with reward_server(model, port=0).running() as address:
        for name, body in {
            "server": {"query": [query], "prompts": [start]},
            "slime": {"prompt": asked, "response": said, "label": None},
        }.items():
            request = urllib.request.Request(
                address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                told = json.loads(answer.read())
            found[name] = told["rewards"][0] if isinstance(told, dict) else told
    return {name: float(value) for name, value in found.items()}


def test_one_conversation_has_one_reward_by_every_route_and_from_every_layout(model: Path, tmp_path: Path) -> None:
    routes = by_routes(model, SEEN, SAID)
    for layout in WHOLE:
        texts, rewards = by_file(model, file(tmp_path, rows_of(layout, SEEN, SAID)))
        assert texts.account["layout"] == layout
        routes[layout] = rewards["Rinse it twice."]
        assert rewards[OTHER] != pytest.approx(routes[layout], abs=1e-3)
    expected = routes["TRL"]
    assert routes == pytest.approx(dict.fromkeys(routes, expected), rel=1e-4, abs=1e-5)


def test_a_model_remembers_what_became_of_system_turns_and_can_be_told_otherwise(model: Path) -> None:
    kept = load_model(model).embedder.keep_system
    plain = [turn for turn in SEEN if turn["role"] != "system"]
    own, without = (np.array(RewardFunction(model)([turns], [SAID]), float) for turns in (SEEN, plain))
    rewards = {k: np.array(RewardFunction(model, keep_system=k)([SEEN], [SAID]), float) for k in (False, True)}
    assert own == rewards[kept]
    assert rewards[False] == without
    assert abs(rewards[True] - rewards[False]) > 1e-3
    start = template(SEEN)
    for keep, reward in rewards.items():
        told = make_reward_func(model, keep_system=keep)([f"{start}{SAID}<|im_end|>"], [start])["rewards"]
        np.testing.assert_allclose(told, reward, rtol=1e-4)
        assert make_compute_score(model, keep_system=keep)("", SAID, None, {"prompt": SEEN}) == pytest.approx(reward[0])


words = st.text(st.characters(codec="utf-8", exclude_characters="<>[]｜|~{}\r"), min_size=1, max_size=12).filter(
    str.strip
)
turn_lists = st.lists(st.tuples(words, words), max_size=2)


@settings(max_examples=8, deadline=None)
@given(system=st.none() | words, before=turn_lists, asked=words, said=words, thought=st.none() | words)
def test_the_law_holds_for_any_words(
    system: str | None,
    before: list[tuple[str, str]],
    asked: str,
    said: str,
    thought: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    turns: Turns = [{"role": "system", "content": system}] if system else []
    for question, reply in before:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    turns.append({"role": "user", "content": asked})
    spoken = f"<think>{thought}</think>{said}" if thought else said
    folder = tmp_path_factory.mktemp("layouts")
    for keep in (False, True):
        found = {}
        for layout in WHOLE:
            texts = read_texts(file(folder, rows_of(layout, turns, spoken)), rules=RowRules(keep_system=keep))
            found[layout] = {(p, r) for p, r in zip(texts.prompts, texts.responses, strict=True) if r != OTHER}
        assert len(set.union(*found.values())) == 1, found
