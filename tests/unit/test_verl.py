"""The reward function that verl loads from a file, called as its reward managers call it; verl is not needed."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import embedders, heads, read_pairs, selectors
from embrm.errors import DataError, OptionError
from embrm.heads import FittedHead
from embrm.integrations import verl

PREFS = Path(__file__).parents[2] / "data" / "answers" / "prefs.jsonl"
EMBEDDER = embedders.get("hashing")(dimension=64)
ANSWERS = ["Turn it off.", "Never mind.", ""]


@pytest.fixture(scope="module")
def model() -> FittedHead:
    return heads.get("linear")(members=3).fit(read_pairs(PREFS, embedder=EMBEDDER), seed=0)


@pytest.fixture(scope="module")
def folder(model: FittedHead, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("verl") / "model"
    model.save(path)
    return str(path)


def expected(model: FittedHead, answers: list[str], prompt: str = "How?") -> np.ndarray:
    return model.score(EMBEDDER.embed([f"{prompt}\n\n{a}" for a in answers]).vectors).centred().draws


def loaded(path: str | Path, name: str = "compute_score", **reward_kwargs: Any) -> Any:
    """Load as verl's `get_custom_reward_fn` does: a file under the name `custom_module`, with keywords added."""
    spec = importlib.util.spec_from_file_location("custom_module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_module"] = module
    spec.loader.exec_module(module)
    function = getattr(module, name)
    return lambda *args, **kwargs: function(*args, **kwargs, **reward_kwargs)


def one(function: Any, answer: str, **info: Any) -> Any:
    """Call as the manager `naive` does."""
    return function(
        data_source="set", solution_str=answer, ground_truth=None, extra_info={"index": 3, "num_turns": 2, **info}
    )


def test_a_file_of_two_lines(model: FittedHead, folder: str, tmp_path: Path) -> None:
    file = tmp_path / "reward.py"
    file.write_text(
        f"from embrm.integrations.verl import make_compute_score\ncompute_score = make_compute_score({folder!r})\n"
    )
    function, want = loaded(file), expected(model, ANSWERS).mean(axis=0)
    found = [one(function, answer, question="How?") for answer in ANSWERS]
    assert all(type(value) is float for value in found)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    batch = function(
        data_sources=np.array(["set"] * 3, dtype=object),
        solution_strs=ANSWERS,
        ground_truths=[None] * 3,
        extra_infos=np.array([{"question": "How?"}] * 3, dtype=object),
    )
    assert batch == pytest.approx(want, rel=1e-5)
    assert function("set", ANSWERS[0], None, {"prompt": "How?"}) == pytest.approx(want[0], rel=1e-5)


def test_the_module_itself(model: FittedHead, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBRM_MODEL", raising=False)
    with pytest.raises(OptionError, match=r"reward_kwargs\.model, or set the environment variable EMBRM_MODEL"):
        one(loaded(verl.__file__), "So.", prompt="How?")
    want = expected(model, ["So."])[:, 0]
    told = one(loaded(verl.__file__, model=folder, details=True, prompt_key="q"), "So.", prompt="not this", q="How?")
    assert told == {
        "score": pytest.approx(want.mean(), rel=1e-5),
        "uncertainty": pytest.approx(want.std(), rel=1e-5),
        "truncated": 0,
    }
    monkeypatch.setenv("EMBRM_MODEL", folder)
    function = loaded(verl.__file__)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: one(function, "So.", prompt="How?"), range(16)))
    np.testing.assert_allclose(found, want.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "prompt",
    [
        "How?",
        "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n",
        [{"role": "user", "content": "How?"}],
        np.array([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How?"}], dtype=object),
    ],
    ids=["text", "template", "messages", "array"],
)
def test_one_text_by_every_form_of_the_prompt(prompt: Any, model: FittedHead) -> None:
    found = one(verl.make_compute_score(model, embedder=EMBEDDER), "So.<|im_end|>", prompt=prompt)
    assert found == pytest.approx(expected(model, ["So."]).mean(), rel=1e-5)


def test_a_rule_values_the_text(model: FittedHead) -> None:
    worst = verl.make_compute_score(model, embedder=EMBEDDER, rule=selectors.get("worst_case")())
    assert one(worst, "So.", prompt="How?") == pytest.approx(expected(model, ["So."]).min(), rel=1e-5)
    with pytest.raises(OptionError, match="'thompson' does not value a text by itself"):
        verl.make_compute_score(model, embedder=EMBEDDER, rule=selectors.get("thompson")())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            {"solution_str": "a"},
            "extra_info must hold the prompt as one of prompt, question, .*, found: nothing; write",
        ),
        ({"solution_str": "a", "extra_info": {"index": 1, "prompt": None}}, "found: index; write it there"),
        ({"solution_str": "a", "extra_info": {"prompt": "b", "query": "c"}}, "as one of .* found: prompt, query"),
        ({"solution_str": None, "extra_info": {"prompt": "b"}}, "solution_str must be text, got NoneType"),
        (
            {"solution_strs": ["a", 3], "extra_infos": [{"prompt": "b"}] * 2},
            "sample 1: solution_str must be text, got int",
        ),
        (
            {"solution_strs": ["a"], "extra_infos": [{"prompt": 3}]},
            "sample 0: prompt must be text or a list of messages",
        ),
        ({"solution_strs": ["a", "b"], "extra_infos": [None]}, "every solution needs its extra_info, got 1 for 2"),
        ({"solution_strs": []}, "every solution needs its extra_info, got 0 for 0"),
    ],
)
def test_what_has_no_prompt_or_no_text_is_named(call: dict[str, Any], message: str, model: FittedHead) -> None:
    with pytest.raises(DataError, match=message):
        verl.make_compute_score(model, embedder=EMBEDDER)(**call)
