"""Language models as policies: the law of what is drawn, seeds, stops, and pools that survive a killed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import chisquare

from embrm import read_candidates
from embrm.embedders.hashing import Hashing
from embrm.errors import DataError, MissingExtraError, OptionError
from embrm.integrations.reward_model import RewardModelGold
from embrm.policies import _engines
from embrm.policies.causal_lm import CausalLMPolicy, _engine
from embrm.policies.pool_file import PoolShards, write_pool
from tests import tiny_models

PROMPTS = ["Why?", "How are plants green?", "Tell me about the moon, at length.", "Yes or no?", "So?"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.causal_lm(tmp_path_factory.mktemp("lm") / "tiny-lm")


@pytest.fixture
def policy(model: Path) -> CausalLMPolicy:
    return CausalLMPolicy(str(model), max_new_tokens=12)


def texts(policy: CausalLMPolicy, prompts: Sequence[Any] = PROMPTS, **options: Any) -> list[list[str]]:
    done = policy.respond(prompts, **{"n": 3, "seed": 0} | options)
    return [[one.text for one in pool] for pool in done]


# --- what is drawn


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.7)])
def test_tokens_have_the_probabilities_of_the_softmax(temperature: float, top_p: float) -> None:
    logits = np.array([1.5, 0.3, -0.4, 2.0, 0.0, -1.0])
    p = softmax(logits / temperature)
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1] if top_p < 1 else order
    expected = np.zeros(6)
    expected[kept] = p[kept] / p[kept].sum()
    n = 6000
    draw = _engines.Gumbel(range(n), _engines.Sampling(temperature, top_p, 1, ()), device="cpu")
    scores = torch.tensor(logits, dtype=torch.float32).expand(n, -1)
    counts = np.bincount(draw(torch.zeros(n, 1, dtype=torch.long), scores).argmax(dim=1), minlength=6)
    assert counts[expected == 0].sum() == 0
    assert chisquare(counts[kept], n * expected[kept]).pvalue > 1e-3


def test_the_first_token_has_the_probabilities_of_the_model(model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net: Any = AutoModelForCausalLM.from_pretrained(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why?"}], add_generation_prompt=True, return_tensors="pt"
    )
    with torch.no_grad():
        p = net(**asked).logits[0, -1].double().softmax(0).numpy()
    n = 2000
    drawn = texts(CausalLMPolicy(str(model), max_new_tokens=1, batch_size=500), ["Why?"], n=n)[0]
    words = {tokenizer.decode([i], skip_special_tokens=True) for i in range(len(p))}
    share = dict.fromkeys(words, 0.0)
    for i in range(len(p)):
        share[tokenizer.decode([i], skip_special_tokens=True)] += p[i]
    expected = np.array(list(share.values())) * n
    counts = np.array([drawn.count(word) for word in share])
    common = expected >= 5
    seen, wanted = (np.append(x[common], x[~common].sum()) for x in (counts, expected))
    assert chisquare(seen, wanted).pvalue > 1e-3


def test_temperature_0_takes_the_likeliest(policy: CausalLMPolicy, model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net: Any = AutoModelForCausalLM.from_pretrained(model)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    greedy = texts(replace(policy, temperature=0), n=1)
    for prompt, [text] in zip(PROMPTS, greedy, strict=True):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt"
        )
        out = net.generate(**asked, do_sample=False, max_new_tokens=12)[0, asked["input_ids"].shape[1] :]
        assert text == tokenizer.decode(out, skip_special_tokens=True)
    with pytest.raises(OptionError, match="n must be at least 1, and 1 at temperature 0"):
        texts(replace(policy, temperature=0), n=2)


# --- seeds


def test_the_same_seed_gives_the_same_texts_whatever_the_batches(policy: CausalLMPolicy) -> None:
    together = texts(policy)
    assert len({text for pool in together for text in pool}) == 15
    for size in (1, 4):
        assert texts(replace(policy, batch_size=size)) == together
    backwards = texts(policy, PROMPTS[::-1], ids=[str(i) for i in range(5)][::-1])
    assert backwards[::-1] == together
    assert [pool[:2] for pool in together] == texts(policy, n=2)
    assert texts(policy, seed=1) != together
    assert texts(policy, ids=list("abcde")) != together


def test_global_generators_are_untouched(policy: CausalLMPolicy) -> None:
    numpy_before, torch_before = np.random.get_state(legacy=False)["state"]["key"].copy(), torch.get_rng_state()  # noqa: NPY002
    _engine.cache_clear()
    texts(policy)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_out_of_memory_halves_the_batch_and_changes_no_text(
    policy: CausalLMPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(policy)
    _engine.cache_clear()
    generate, sizes = _engines._Writer._generate, []

    def full(self: Any, requests: list[Any]) -> Any:
        sizes.append(len(requests))
        if len(requests) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return generate(self, requests)

    monkeypatch.setattr(_engines._Writer, "_generate", full)
    with pytest.warns(UserWarning, match="out of memory on cpu with (15|7) × .* goes on with (7|3) at once"):
        assert texts(policy) == expected
    assert sizes[:3] == [15, 7, 3]
    _engine.cache_clear()


# --- ends


def test_responses_end_before_a_stop_string(policy: CausalLMPolicy) -> None:
    long = replace(policy, max_new_tokens=40)
    free = long.respond(PROMPTS, n=4, seed=0)
    stopped = replace(long, stop=("e", " a")).respond(PROMPTS, n=4, seed=0)
    ends = 0
    for one, other in zip(chain(*free), chain(*stopped), strict=True):
        at = [i for i in (one.text.find("e"), one.text.find(" a")) if i >= 0]
        assert other.text == (one.text[: min(at)] if at else one.text)
        assert other.ended is (bool(at) or one.ended)
        ends += bool(at)
    assert ends > 5


def test_what_ended_by_itself_is_told_from_what_was_cut(policy: CausalLMPolicy, model: Path) -> None:
    from transformers import AutoModelForCausalLM

    eager = model.parent / "eager"
    tiny_models.causal_lm(eager)
    net = AutoModelForCausalLM.from_pretrained(eager)
    net.generation_config.eos_token_id = list(range(3, 300))  # half the vocabulary ends a text
    net.save_pretrained(eager)
    done = list(chain(*replace(policy, model=str(eager), max_new_tokens=3).respond(PROMPTS, n=8, seed=0)))
    assert {one.ended for one in done} == {True, False}
    assert "" in {one.text for one in done if one.ended}
    assert all(one.text for one in done if not one.ended)


# --- prompts


def test_messages_are_prompts_too(policy: CausalLMPolicy, model: Path) -> None:
    assert texts(policy, [[{"role": "user", "content": "Why?"}]]) == texts(policy, ["Why?"])
    bare = replace(policy, model=str(tiny_models.causal_lm(model.parent / "bare", chat=False, pad=False)))
    assert len(texts(bare)) == 5
    with pytest.raises(DataError, match="a prompt is a list of messages, but the model has no chat template"):
        texts(bare, [[{"role": "user", "content": "Why?"}]])


def test_what_cannot_be_answered_is_refused(policy: CausalLMPolicy) -> None:
    with pytest.raises(DataError, match="there are no prompts"):
        texts(policy, [])
    with pytest.raises(DataError, match="ids must name the 2 prompts, each another, got 1 different"):
        texts(policy, ["a", "b"], ids=["x", "x"])
    with pytest.raises(
        DataError, match=r"prompt 'long' has \d+ tokens, which with max_new_tokens=12 is more than the 512"
    ):
        texts(policy, ["why " * 600], ids=["long"])


def test_options_are_checked(policy: CausalLMPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"engine": "magic"}, "engine must be one of transformers, vllm, got 'magic'"),
        ({"temperature": -1}, "temperature must be at least 0, got -1"),
        ({"top_p": 0}, r"top_p must be in \(0, 1\], got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"stop": "end"}, "stop must be a tuple of strings that are not empty, got 'end'"),
        ({"stop": ("",)}, "stop must be a tuple of strings that are not empty"),
    ]
    for options, message in cases:
        with pytest.raises(OptionError, match=message):
            replace(policy, **options)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OptionError, match=r"cannot load model 'nobody/nothing'.*pass a folder that holds it"):
        texts(CausalLMPolicy("nobody/nothing"))


# --- vLLM


def test_vllm_is_asked_for_by_name(policy: CausalLMPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"engine 'vllm' needs vLLM: pip install 'embrm\[vllm\]'"):
        texts(replace(policy, engine="vllm"))


def test_vllm_gets_each_request_s_seed(policy: CausalLMPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    # vLLM needs a GPU; what stands in its place shows only what it is asked.
    asked: list[Any] = []

    class LLM:
        def __init__(self, **options: Any) -> None:
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=512))

        def generate(self, prompts: Any, params: Any, *, use_tqdm: bool) -> Any:
            asked.extend(zip(prompts, params, strict=True))
            one = SimpleNamespace(text="", finish_reason="length")
            return [SimpleNamespace(outputs=[one]) for _ in prompts]

    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    done = replace(policy, engine="vllm", top_p=0.9, stop=("x",)).respond(PROMPTS, n=2, seed=0)
    assert [len(pool) for pool in done] == [2] * 5
    assert not done[0][0].ended
    assert len({params.seed for _, params in asked}) == 10
    assert (asked[0][1].top_p, asked[0][1].stop, asked[0][1].max_tokens) == (0.9, ["x"], 12)
    assert asked[0][0] == asked[1][0] != asked[2][0]
    _engine.cache_clear()


# --- pools


def test_a_pool_is_read_like_any_other(policy: CausalLMPolicy, tmp_path: Path) -> None:
    gold = RewardModelGold(str(tiny_models.reward_model(tmp_path / "rm")))
    report = write_pool(policy, tmp_path / "pool.jsonl", prompts=PROMPTS, n=3, seed=0, gold=gold, shards=PoolShards(2))
    assert (report.prompts, report.responses, report.empty, report.resumed) == (5, 15, 0, 0)
    rows = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    assert [row["responses"] for row in rows] == texts(policy)
    assert [row["prompt"] for row in rows] == PROMPTS
    assert report.cut == sum(not e for row in rows for e in row["ended"])
    data = read_candidates(tmp_path / "pool.jsonl", embedder=Hashing())
    assert data.policy is not None
    assert set(data.policy) == {"tiny-lm"}
    flat = [(row["prompt"], text) for row in rows for text in row["responses"]]
    assert data.gold is not None
    np.testing.assert_allclose(data.gold, gold([p for p, _ in flat], [t for _, t in flat]), atol=1e-5)
    assert not (tmp_path / "pool.jsonl.parts").exists()


def test_empty_responses_are_kept_and_counted(policy: CausalLMPolicy, model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    silent = tiny_models.causal_lm(tmp_path / "silent")
    net = AutoModelForCausalLM.from_pretrained(silent)
    net.generation_config.eos_token_id = list(range(1, 600))
    net.save_pretrained(silent)
    gold = RewardModelGold(str(tiny_models.reward_model(tmp_path / "rm")))
    report = write_pool(
        replace(policy, model=str(silent)), tmp_path / "p.jsonl", prompts=PROMPTS, n=4, seed=0, gold=gold
    )
    assert report.empty == report.responses == 20
    data = read_candidates(tmp_path / "p.jsonl", embedder=Hashing())
    assert len(data.features) == 20
    assert data.gold is not None
    assert np.isfinite(data.gold).all()


def test_a_gold_that_is_not_finite_is_refused(policy: CausalLMPolicy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one finite number for each of the 2 responses, got shape \(2,\) with 1 that"):
        write_pool(policy, tmp_path / "p.jsonl", prompts=["a"], n=2, seed=0, gold=lambda p, r: np.array([1.0, np.nan]))
    assert (tmp_path / "p.jsonl.parts").exists()  # what was generated is not lost
    report = write_pool(policy, tmp_path / "p.jsonl", prompts=["a"], n=2, seed=0)
    assert report.resumed == 1


def test_parts_of_another_run_are_not_taken(policy: CausalLMPolicy, tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pool(policy, tmp_path / "p.jsonl", prompts=PROMPTS, n=2, seed=0, shards=PoolShards(2, stop))
    for other, seed in ((policy, 1), (replace(policy, top_p=0.5), 0)):
        with pytest.raises(OptionError, match="was begun with another model, other prompts or other options"):
            write_pool(other, tmp_path / "p.jsonl", prompts=PROMPTS, n=2, shards=PoolShards(2), seed=seed)
    smaller = replace(policy, batch_size=1)  # what a run that was out of memory is started again with
    assert write_pool(smaller, tmp_path / "p.jsonl", prompts=PROMPTS, n=2, seed=0, shards=PoolShards(2)).resumed == 2
    write_pool(policy, tmp_path / "whole.jsonl", prompts=PROMPTS, n=2, seed=0)
    assert (tmp_path / "p.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_cannot_be_written_is_refused_before_any_work(policy: CausalLMPolicy, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"prompts": []}, DataError, "there are no prompts"),
        ({"prompts": ["a", "b"], "ids": ["x", "x"]}, DataError, "ids must name the 2 prompts"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            write_pool(policy, tmp_path / "p.jsonl", **{"n": 1, "seed": 0} | options)
    with pytest.raises(OptionError, match="shards must have at least 1 prompt, got 0; take 16"):
        PoolShards(0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="prompt '0' has"):
        write_pool(policy, tmp_path / "p.jsonl", prompts=["why " * 600], n=1, seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_file(policy: CausalLMPolicy, model: Path, tmp_path: Path) -> None:
    prompts = [f"{prompt} {i}" for i in range(8) for prompt in PROMPTS]
    write_pool(policy, tmp_path / "whole.jsonl", prompts=prompts, n=2, seed=3, shards=PoolShards(2))
    code = (
        "import sys, time, json\n"
        "from embrm.policies.causal_lm import CausalLMPolicy\n"
        "from embrm.policies.pool_file import PoolShards, write_pool\n"
        "policy = CausalLMPolicy(sys.argv[1], max_new_tokens=12)\n"
        "shards = PoolShards(2, lambda _: time.sleep(0.2))\n"
        "write_pool(policy, sys.argv[2], prompts=json.loads(sys.argv[3]), n=2, seed=3, shards=shards)"
    )
    killed = tmp_path / "killed.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code, str(model), str(killed), json.dumps(prompts)])
    parts = tmp_path / "killed.jsonl.parts"
    while len(list(parts.glob("*.jsonl"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    report = write_pool(policy, killed, prompts=prompts, n=2, seed=3, shards=PoolShards(2))
    assert 6 <= report.resumed < 40
    assert killed.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
