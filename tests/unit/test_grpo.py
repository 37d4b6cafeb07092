"""Real runs of TRL's trainer on a tiny language model: what is recorded, what stops a run, what is refused."""

from __future__ import annotations

import importlib
import json
import math
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import detectors, embedders, heads, read_pairs, selectors
from embrm.core.trajectory import Step, Trajectory
from embrm.data.prompts import read_prompts
from embrm.data.texts import read_texts
from embrm.errors import DataError, MissingExtraError, OptionError
from embrm.heads import FittedHead
from embrm.integrations.resume import interrupted
from embrm.integrations.reward_model import RewardModelGold
from embrm.integrations.trl import RewardFunction
from embrm.lm.batching import MemoryWarning
from embrm.monitoring import AlarmRule
from embrm.policies.training import RunStoppedError
from embrm.report.figures import save
from embrm.report.path import along_kl
from tests.tiny_models import causal_lm, reward_model

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
from embrm.integrations._grpo_trainer import prompts_of  # noqa: E402 - without the extra it cannot be imported
from embrm.integrations.grpo import GRPO  # noqa: E402 - likewise

# What TRL 1.16 calls is deprecated in transformers 5.23.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"
)
PREFS = Path(__file__).parents[2] / "data" / "answers" / "prefs.jsonl"
EMBEDDER = embedders.get("hashing")(dimension=64)
TINY: dict[str, Any] = {"batch": 8, "group": 4, "learning_rate": 3e-3, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def model() -> FittedHead:
    return heads.get("linear")(members=3).fit(read_pairs(PREFS, embedder=EMBEDDER), seed=0)


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_lm(tmp_path_factory.mktemp("lm") / "lm")


@pytest.fixture(scope="module")
def prompts() -> list[Any]:
    return list(read_prompts(PREFS)[1])


class Kept(RewardFunction):
    """Keeps what the trainer handed over."""

    def __call__(self, prompts: Any, completions: Any, **others: Any) -> list[float | None]:
        self.calls = [*getattr(self, "calls", []), {"prompts": prompts, "completions": completions, **others}]
        return super().__call__(prompts, completions, **others)


def measured(policy: Path, reference: Path, call: dict[str, Any], *, chat: bool) -> tuple[float, float]:
    """Return KL and entropy over the whole vocabulary, summed over a response's tokens, in plain transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(reference)
    nets = [AutoModelForCausalLM.from_pretrained(folder) for folder in (policy, reference)]
    kl, entropy = [], []
    for prompt, completion in zip(call["prompts"], call["completion_ids"], strict=True):
        if chat:
            prompt = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        asked = tokenizer(prompt, add_special_tokens=not chat)["input_ids"]
        with torch.no_grad():
            now, start = (net(torch.tensor([asked + completion])).logits[0, len(asked) - 1 : -1].log_softmax(-1)
                          for net in nets)  # fmt: skip
        kl.append(float((now.exp() * (now - start)).sum()))
        entropy.append(float(-(now.exp() * now).sum()))
    return float(np.mean(kl)), float(np.mean(entropy))


@pytest.mark.parametrize("chat", [False, True], ids=["text", "messages"])
def test_a_run_records_what_the_policy_was_before_each_step(
    chat: bool, model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path
) -> None:
    asked = [[{"role": "user", "content": p}] for p in prompts] if chat else prompts
    lm = lm if chat else causal_lm(tmp_path / "lm", chat=False)
    gold = RewardModelGold(str(reward_model(tmp_path / "gold")))
    reward = Kept(model, EMBEDDER, latents=True)
    constant = {"lr_scheduler_type": "constant", "gradient_checkpointing": False}
    recipe = GRPO(steps=5, options=constant, **TINY)
    seen: list[Step] = []
    run = recipe.train(lm, asked, reward=reward, seed=1, gold=gold, folder=tmp_path / "run", on_step=seen.append)
    assert [step.step for step in seen] == [step.step for step in run.steps] == [*range(5)]
    for step, call in zip(run.steps, reward.calls, strict=True):
        texts = [(c[0]["content"] if chat else c).strip() for c in call["completions"]]  # as the embedder read them
        plain = [p[0]["content"] if chat else p for p in call["prompts"]]
        assert [(row["prompt"], row["text"]) for row in step.sample] == list(zip(plain, texts, strict=True))
        vectors = EMBEDDER.embed([f"{p}\n\n{t}" for p, t in zip(plain, texts, strict=True)]).vectors
        value = model.score(vectors).centred().mean
        np.testing.assert_allclose([row["proxy"] for row in step.sample], value, rtol=1e-5)
        np.testing.assert_allclose([step.proxy, step.gold], [value.mean(), gold(plain, texts).mean()], rtol=1e-4)
        assert step.latent is not None
        np.testing.assert_allclose(step.latent, model.latent(vectors), rtol=1e-5)
    # After 4 steps of the same seed the policy is the one whose texts the fifth step saw.
    short = GRPO(steps=4, options=constant, **TINY)
    short.train(lm, asked, reward=RewardFunction(model, EMBEDDER), seed=1, folder=tmp_path / "short")
    for number, policy in ((0, lm), (4, tmp_path / "short" / "policy")):
        kl, entropy = measured(policy, lm, reward.calls[number], chat=chat)
        np.testing.assert_allclose(run.steps[number].kl, kl, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(run.steps[number].entropy, entropy, rtol=1e-3)
    assert run.steps[0].kl == 0 < run.steps[4].kl
    back = Trajectory.load(tmp_path / "run")
    for name in ("kl", "entropy", "proxy", "gold"):
        np.testing.assert_allclose(back.series(name), run.series(name))
    save(along_kl([vars(step) for step in back.steps]), tmp_path / "run.svg")
    assert (tmp_path / "run.svg").read_text(encoding="utf-8").count('aria-label="KL') >= 10


def test_without_gold_it_is_unknown_and_only_the_proxy_is_drawn(
    model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path
) -> None:
    recipe = GRPO(steps=2, kl_weight=0.0, micro_batch=4, **TINY)
    run = recipe.train(lm, prompts, reward=RewardFunction(model, EMBEDDER), seed=0, folder=tmp_path / "run")
    lines = (tmp_path / "run" / "trajectory.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["gold"] for line in lines] == [None, None]
    back = Trajectory.load(tmp_path / "run")
    assert np.isnan(back.series("gold")).all()
    assert run.steps[1].kl > 0  # it is measured also where it is not paid for
    assert run.steps[1].latent is None
    save(along_kl([vars(step) for step in back.steps]), tmp_path / "run.svg")
    with pytest.raises(DataError, match=r"no series 'words'; there are kl, entropy, proxy, gold$"):
        back.series("words")


@pytest.mark.parametrize("stop", [True, False])
def test_an_alarm_stops_the_run_where_that_is_asked_for(
    stop: bool, model: FittedHead, lm: Path, prompts: list[Any]
) -> None:
    rule = AlarmRule("threshold", limit=-100.0)
    reward = RewardFunction(model, EMBEDDER).watched_by(detectors.get("csi")(), read_texts(PREFS), rule=rule)
    run = GRPO(steps=3, **TINY).train(lm, prompts, reward=reward, seed=0, stop_on_alarm=stop)
    assert reward.alarm is not None
    assert reward.alarm.fired == 0
    assert len(run) == (1 if stop else 3)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path
) -> None:
    recipe = GRPO(steps=5, save_every=3, **TINY)
    told = (lm, [*dict.fromkeys(prompts)][:5])  # two steps a pass, so that the checkpoint is in the second one
    texts, rule = read_texts(PREFS), AlarmRule("threshold", window=3, limit=1e9)

    def watched() -> RewardFunction:
        thompson = RewardFunction(model, EMBEDDER, selector=selectors.get("thompson")())
        return thompson.watched_by(detectors.get("csi")(), texts, rule=rule)

    def interrupt(step: Step) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    whole, parts = watched(), watched()
    recipe.train(*told, reward=whole, seed=3, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        recipe.train(*told, reward=parts, seed=3, folder=tmp_path / "parts", on_step=interrupt)
    assert len(Trajectory.load(tmp_path / "parts")) == 4
    assert interrupted(tmp_path / "parts")
    with pytest.raises(DataError, match=r"was interrupted, and begun with another seed; give .*run\.json"):
        recipe.train(*told, reward=parts, seed=4, folder=tmp_path / "parts")
    other = RewardFunction(model, EMBEDDER, selector=selectors.get("lower_bound")(weight=3.0))
    with pytest.raises(DataError, match="begun with another learning_rate, reward; give"):
        replace(recipe, learning_rate=1.0).train(*told, reward=other, seed=3, folder=tmp_path / "parts")
    done: list[int] = []
    fresh = watched()  # as in another process
    again = recipe.train(
        *told, reward=fresh, seed=3, folder=tmp_path / "parts", on_step=lambda step: done.append(step.step)
    )
    assert (done, len(again)) == ([3, 4], 5)
    for name in ("trajectory.jsonl", "policy/model.safetensors", "latent-0004.npy"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert whole.alarm is not None
    assert fresh.alarm is not None
    np.testing.assert_allclose(fresh.alarm.trace.statistic, whole.alarm.trace.statistic, rtol=1e-5)
    assert not interrupted(tmp_path / "parts")
    with pytest.raises(DataError, match="exists already"):
        recipe.train(*told, reward=fresh, seed=3, folder=tmp_path / "parts")


def test_a_run_that_was_interrupted_before_its_first_checkpoint_begins_anew(
    model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path
) -> None:
    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    recipe, reward = GRPO(steps=2, **TINY), RewardFunction(model, EMBEDDER, latents=True)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(lm, prompts, reward=reward, seed=0, folder=tmp_path / "run", on_step=interrupt)
    seen = (tmp_path / "run" / "trajectory.jsonl").read_bytes()
    np.save(tmp_path / "run" / "latent-0009.npy", np.zeros((8, 2)))  # of a later step, of which no line was written
    assert len(recipe.train(lm, prompts, reward=reward, seed=0, folder=tmp_path / "run")) == 2
    assert (tmp_path / "run" / "trajectory.jsonl").read_bytes().startswith(seen)
    assert len([*(tmp_path / "run").glob("latent-*.npy")]) == 2
    with pytest.raises(DataError, match=r"expected 3 steps in .*trajectory\.jsonl, found 2; it is damaged"):
        Trajectory.again(tmp_path / "run", 3)


class Narrow(RewardFunction):
    """Stands for a device: memory runs out whenever more than so many responses pass at once, or in a given step."""

    room = 8
    last = 99

    def __call__(self, prompts: Any, completions: Any, *, trainer_state: Any = None, **others: Any) -> Any:
        if trainer_state.train_batch_size > self.room or trainer_state.global_step == self.last:
            raise torch.OutOfMemoryError("out of memory\nand much more")
        return super().__call__(prompts, completions, **others)


def test_where_memory_runs_out_the_run_starts_again_with_half_of_the_micro_batch(
    model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path
) -> None:
    reward = Narrow(model, EMBEDDER)
    reward.room = 4
    with pytest.warns(MemoryWarning, match="ran out with micro_batch=8; the run starts again with 4"):
        run = GRPO(steps=2, **TINY).train(lm, prompts, reward=reward, seed=0)
    assert [step.step for step in run.steps] == [0, 1]
    reward.room, reward.last = 8, 1
    with pytest.raises(RunStoppedError, match=r"ran out in step 1 with micro_batch=8; .*\(out of memory\)") as stopped:
        GRPO(steps=2, **TINY).train(lm, prompts, reward=reward, seed=0, folder=tmp_path / "run")
    assert len(stopped.value.trajectory) == len(Trajectory.load(tmp_path / "run")) == 1


class Silent(RewardFunction):
    """Has nothing to say of its second batch and of every other completion."""

    batch = 0

    def __call__(self, prompts: Any, completions: Any, **others: Any) -> list[float | None]:
        self.batch += 1
        some = [None if self.batch == 2 or i % 2 else c for i, c in enumerate(completions)]
        return super().__call__(prompts, some, **others)


def test_completions_without_a_reward_are_left_out(
    model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path
) -> None:
    reward = Silent(model, EMBEDDER, latents=True)
    GRPO(steps=3, **TINY).train(lm, prompts, reward=reward, seed=0, folder=tmp_path / "run")
    run = Trajectory.load(tmp_path / "run")
    assert [len(step.sample) for step in run.steps] == [4, 0, 4]
    assert [step.latent is None for step in run.steps] == [False, True, False]
    assert math.isnan(run.steps[1].proxy)
    np.testing.assert_allclose(run.steps[0].proxy, np.mean([row["proxy"] for row in run.steps[0].sample]), rtol=1e-5)


def test_the_run_is_decided_by_its_seed_and_leaves_the_global_generators_alone(
    model: FittedHead, lm: Path, prompts: list[Any]
) -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    recipe, reward = GRPO(steps=1, **TINY), RewardFunction(model, EMBEDDER)
    texts = [
        [row["text"] for row in recipe.train(lm, prompts, reward=reward, seed=seed).steps[0].sample]
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps, max_new_tokens and micro_batch >= 1 and group >= 2"),
        ({"group": 1}, "steps, max_new_tokens and micro_batch >= 1 and group >= 2"),
        ({"batch": 12}, "batch must be a multiple of group and of micro_batch, got 12, 8 and 12"),
        ({"micro_batch": 7}, "batch must be a multiple of group and of micro_batch, got 64, 8 and 7"),
        ({"kl_weight": -1.0}, "learning_rate > 0 and kl_weight >= 0"),
        ({"save_every": -1}, "save_every >= 0, got 200, 256, 64, 8 and -1"),
        ({"options": {"beta": 0.1}}, "beta cannot be set by options"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GRPO(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1.0}, "has no option 'temprature'. Did you mean 'temperature'"),
        ({"auto_find_batch_size": True}, "GRPOConfig refuses an option: auto_find_batch_size is not supported"),
        ({"model_init_kwargs": {"dtype": "x"}}, "GRPOTrainer refuses an option: Invalid `dtype`"),
    ],
)
def test_options_that_trl_refuses_are_named(
    options: dict[str, Any], message: str, model: FittedHead, lm: Path, prompts: list[Any]
) -> None:
    with pytest.raises(OptionError, match=message):
        GRPO(steps=1, options=options, **TINY).train(lm, prompts, reward=RewardFunction(model, EMBEDDER), seed=0)


CALL = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
TOOLS = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] or '' }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_two_reward_functions_log_two_columns_in_a_conversation_with_tools(
    model: FittedHead, lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    from tests.tiny_models import tokenizer

    other = heads.get("mlp")(members=2, hidden=(8,), epochs=1).fit(read_pairs(PREFS, embedder=EMBEDDER), seed=1)
    model.save(tmp_path / "style")
    # TRL's printing of its table fails where a message's tool_calls are null, as Arrow fills them in.
    monkeypatch.setattr("trl.trainer.grpo_trainer.is_rich_available", lambda: False)
    functions = [RewardFunction(tmp_path / "style", EMBEDDER), RewardFunction(other, EMBEDDER, name="helpful")]
    words = tokenizer()
    words.chat_template = TOOLS
    asked = [
        {"role": "user", "content": "How should I clean a kettle?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "a leaflet"},
    ]
    options: dict[str, Any] = {
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 4,
        "num_generations": 2,
    }
    options |= {"max_completion_length": 8, "max_steps": 1, "logging_steps": 1, "report_to": "none"}
    args = GRPOConfig(**options, use_cpu=True, log_completions=True, save_strategy="no", disable_tqdm=True, bf16=False)
    data = Dataset.from_list([{"prompt": asked}] * 4)
    told = {"reward_funcs": list[Any](functions), "processing_class": words}
    trainer = GRPOTrainer(str(lm), args=args, train_dataset=data, **told)
    assert trainer.reward_func_names == ["style", "helpful"]
    trainer.train()
    log = trainer.state.log_history[0]
    table = pq.read_table(next((tmp_path / "out" / "completions").glob("*.parquet"))).to_pydict()
    for function, head, name in zip(functions, (model, other), ("style", "helpful"), strict=True):
        assert function.seen is not None
        texts = zip(function.seen.prompts, function.seen.texts, strict=True)
        reward = head.score(EMBEDDER.embed([f"{prompt}\n\n{text}" for prompt, text in texts]).vectors).centred()
        assert all("How should I clean a kettle?" in prompt and "leaflet" in prompt for prompt in function.seen.prompts)
        np.testing.assert_allclose(table[name], reward.mean, rtol=1e-4)
        np.testing.assert_allclose(table[f"{name}/uncertainty"], reward.sd, rtol=1e-4)
        np.testing.assert_allclose(log[f"rewards/{name}/mean"], reward.mean.mean(), rtol=1e-4)
        np.testing.assert_allclose(log[f"embrm/{name}/uncertainty"], reward.sd.mean(), rtol=1e-4)
    assert not np.allclose(table["style"], table["helpful"])


def test_what_cannot_be_trained_is_refused(model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path) -> None:
    recipe, reward = GRPO(steps=1, **TINY), RewardFunction(model, EMBEDDER)
    messages = [[{"role": "user", "content": text}] for text in prompts]
    named = RewardFunction(model, EMBEDDER, name="gold")
    with pytest.raises(OptionError, match="call the gold reward 'gold'; give the reward another name"):
        recipe.train(lm, prompts, reward=named, seed=0, gold=lambda p, t: np.zeros(1))
    with pytest.raises(OptionError, match="no alarm to stop on; give the reward one"):
        recipe.train(lm, prompts, reward=reward, seed=0, stop_on_alarm=True)
    with pytest.raises(OptionError, match="neither a folder that exists nor an id"):
        recipe.train(tmp_path / "none", prompts, reward=reward, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="holds no model that transformers can load"):
        recipe.train(tmp_path / "empty", prompts, reward=reward, seed=0)
    with pytest.raises(DataError, match="responses to 2 different prompts, and there are 1"):
        recipe.train(lm, prompts[:1], reward=reward, seed=0)
    with pytest.raises(DataError, match="all be text or all be lists of messages"):
        recipe.train(lm, [prompts[0], messages[1]], reward=reward, seed=0)
    plain = causal_lm(tmp_path / "plain", chat=False)
    with pytest.raises(DataError, match="has no chat template; give plain text"):
        recipe.train(plain, messages, reward=reward, seed=0)
    with pytest.raises(DataError, match=r"gold must .*1"):
        recipe.train(lm, prompts, reward=reward, seed=0, gold=lambda p, t: np.zeros(1))


def test_a_tokenizer_without_a_pad_token_will_do(model: FittedHead, prompts: list[Any], tmp_path: Path) -> None:
    bare = causal_lm(tmp_path / "bare", pad=False, chat=False)
    run = GRPO(steps=1, **TINY).train(bare, prompts, reward=RewardFunction(model, EMBEDDER), seed=0)
    assert math.isfinite(run.steps[0].proxy)


def test_text_is_what_a_user_says_where_there_is_a_chat_template(
    model: FittedHead, lm: Path, prompts: list[Any]
) -> None:
    runs = []
    for asked in (prompts, [[{"role": "user", "content": p}] for p in prompts]):
        reward = RewardFunction(model, EMBEDDER)
        runs.append(GRPO(steps=1, **TINY).train(lm, asked, reward=reward, seed=1).steps[0].sample)
    assert runs[0] == runs[1]


def test_a_tokenizer_without_an_end_is_refused(model: FittedHead, lm: Path, prompts: list[Any], tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(lm, tmp_path / "endless")
    told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(told | {"eos_token": None}), encoding="utf-8")
    with pytest.raises(DataError, match="has no end-of-text token, so its responses would never end"):
        GRPO(steps=1, **TINY).train(folder, prompts, reward=RewardFunction(model, EMBEDDER), seed=1)


def test_prompts_count_once_each_and_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    message = [{"role": "user", "content": "Why?"}]
    file.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ("a", "b", "a", message)), encoding="utf-8")
    read = read_prompts(file)[1]
    assert read == ["a", "b", "a", message]
    assert [row["prompt"] for row in prompts_of(read[:3], least=2)] == ["a", "b"]
    with pytest.raises(DataError, match="a step draws responses to 3 different prompts, and there are 2"):
        prompts_of(read[:3], least=3)
    file.write_text('{"prompt": "a"}\n{"text": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2 has no 'prompt'; found: text"):
        read_prompts(file)
    file.write_text('{"prompt": 3}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1: prompt must be text or a list of messages"):
        read_prompts(file)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.delitem(sys.modules, "embrm.integrations.grpo")
    with pytest.raises(MissingExtraError, match=r"pip install 'embrm\[trl\]'"):
        importlib.import_module("embrm.integrations.grpo")
