"""The embedder of causal language models, against transformers itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embrm import heads, read_pairs, use_device
from embrm.data.encode import encode
from embrm.embedders import _causal, causal_lm
from embrm.embedders.causal_lm import CausalLM
from embrm.errors import OptionError
from embrm.integrations._scorer import TextScorer
from embrm.lm import checkpoint as language_model
from embrm.world.runs import rewarded_by
from tests import tiny_models

TEXTS = ["How are plants green?", "", "A longer text. " * 30, "Yes.", "Praise for the reader, whatever was asked."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.causal_lm(tmp_path_factory.mktemp("lm") / "lm")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    count = iter(range(100))

    def fresh() -> None:
        monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / f"cache{next(count)}"))

    fresh()
    return fresh


def one_by_one(model: Path, texts: list[str], *, layer: int = -1) -> list[np.ndarray]:
    """Return the hidden states `(tokens, d)` of each text alone, which needs no padding."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    net, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    out = []
    for text in texts:
        with torch.no_grad():
            found = net(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        out.append(found.hidden_states[layer][0].numpy())
    return out


def changed(model: Path, folder: Path, **settings: Any) -> Path:
    """Copy a model with other settings of its tokenizer."""
    shutil.copytree(model, folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return folder


# --- vectors


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
def test_the_last_token_is_the_one_of_the_text_alone(model: Path, layer: int) -> None:
    got = CausalLM(str(model), layer=layer, normalize=False).embed(TEXTS).vectors
    expected = [states[-1] for states in one_by_one(model, TEXTS, layer=layer)]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_mean_is_over_the_text_alone(model: Path) -> None:
    got = CausalLM(str(model), pooling="mean", normalize=False).embed(TEXTS).vectors
    np.testing.assert_allclose(got, [states.mean(axis=0) for states in one_by_one(model, TEXTS)], atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_left_and_right_padding_give_the_same_vectors(model: Path, tmp_path: Path, pooling: Any) -> None:
    left = changed(model, tmp_path / "left", padding_side="left")
    right = changed(model, tmp_path / "right", padding_side="right")
    a, b = (CausalLM(str(folder), pooling=pooling) for folder in (left, right))
    assert [e._conversation.left for e in (a, b)] == [True, False]
    np.testing.assert_allclose(a.embed(TEXTS).vectors, b.embed(TEXTS).vectors, atol=1e-5)


def test_padding_is_the_same_where_positions_are_learned(tmp_path: Path, model: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    vectors = []
    for side in ("left", "right"):
        folder = changed(model, tmp_path / side, padding_side=side)
        shape: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "vocab_size": 600}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            GPT2LMHeadModel(GPT2Config(initializer_range=0.2, bos_token_id=1, eos_token_id=3, **shape)).save_pretrained(
                folder
            )
        vectors.append(CausalLM(str(folder)).embed(TEXTS).vectors)
    left, right = vectors
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_without_a_pad_token_the_end_of_text_fills_up(model: Path, tmp_path: Path) -> None:
    bare = tiny_models.causal_lm(tmp_path / "bare", pad=False)
    conversation = CausalLM(str(bare))._conversation
    assert conversation.tokenizer.pad_token_id is None
    assert conversation.filler == conversation.tokenizer.eos_token_id
    np.testing.assert_allclose(
        CausalLM(str(bare)).embed(TEXTS).vectors, CausalLM(str(model)).embed(TEXTS).vectors, atol=1e-5
    )


def test_a_text_without_tokens_is_the_end_of_text(model: Path, tmp_path: Path) -> None:
    folder = changed(model, tmp_path / "plain", bos_token=None)
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None}))
    got = CausalLM(str(folder), normalize=False).embed(["", "<|im_end|>"]).vectors
    np.testing.assert_array_equal(got[0], got[1])


def test_bfloat16_stays_near(model: Path) -> None:
    exact, rounded = CausalLM(str(model)), CausalLM(str(model), precision="bfloat16")
    assert json.loads(exact.identity)["precision"] == "float32"  # what "auto" is on a processor
    assert json.loads(rounded.identity)["precision"] == "bfloat16"
    a, b = exact.embed(TEXTS).vectors, rounded.embed(TEXTS).vectors
    assert b.dtype == np.float32
    assert (a * b).sum(axis=1).min() > 0.99
    assert np.abs(a - b).max() > 1e-5


def test_texts_are_cut_at_the_limit_and_counted(model: Path) -> None:
    text = "Praise for the reader, whatever was asked. " * 60
    [states] = one_by_one(model, [text[:400]])
    done = CausalLM(str(model), max_length=20, normalize=False).embed([text, "Yes."])
    assert done.cut.tolist() == [True, False]
    np.testing.assert_allclose(done.vectors[0], states[19], atol=1e-5)
    assert CausalLM(str(model)).embed([text * 2]).truncated == 1  # the model's own 512


def test_a_model_that_was_replaced_is_loaded_again(tmp_path: Path) -> None:
    folder = tiny_models.causal_lm(tmp_path / "lm")
    embedder = CausalLM(str(folder))
    embedder.embed(TEXTS)
    shutil.rmtree(folder)
    tiny_models.causal_lm(folder, chat=False)
    assert embedder.joint("a", "b") == "a\n\nb"
    assert embedder.embed(TEXTS).computed == len(TEXTS)


# --- chat template


def test_prompt_and_response_go_through_the_chat_template(model: Path) -> None:
    from transformers import AutoTokenizer

    embedder = CausalLM(str(model), normalize=False)
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    ids = tokenizer.apply_chat_template(messages)["input_ids"]
    assert embedder.joint("Why?", "So.") == tokenizer.apply_chat_template(messages, tokenize=False)
    tokens = embedder._conversation.tokens([embedder.joint("Why?", "So."), "So."])
    np.testing.assert_array_equal(tokens[0], ids)  # one <s>, not two
    np.testing.assert_array_equal(tokens[1], tokenizer("So.")["input_ids"])
    assert embedder.joint("", "So.") == "So."


def test_files_are_read_with_the_template(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "No."}) + "\n")
    embedder = CausalLM(str(model))
    expected = embedder.embed([embedder.joint("Why?", r) for r in ("So.", "No.")]).vectors
    columns = ["Why?"] * 2, ["So.", "No."]
    np.testing.assert_array_equal(encode(*columns, embedder=embedder).features.matrix("joint"), expected)
    np.testing.assert_array_equal(read_pairs(file, embedder=embedder).features.views["joint"], expected)
    plain = replace(embedder, template=False)
    assert plain.identity != embedder.identity
    np.testing.assert_array_equal(
        encode(*columns, embedder=plain).features.matrix("joint"),
        plain.embed(["Why?\n\nSo.", "Why?\n\nNo."]).vectors,
    )


def test_trainers_and_the_world_use_the_template_too(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    words = ["moon", "river", "bridge", "lamp", "kettle", "garden"]
    rows = [{"prompt": f"Why the {w}?", "chosen": f"Because {w}.", "rejected": f"No {w}."} for w in words]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    embedder = CausalLM(str(model))
    pairs = read_pairs(file, embedder=embedder)
    head = heads.get("linear")(prior_precision=1.0).fit(pairs, seed=0)
    expected = head.score(pairs.features).centred().mean[[0, 1]]
    told = ["Because moon.", "No moon."]
    scorer = TextScorer(head, embedder=embedder)
    np.testing.assert_allclose(scorer(told, ["Why the moon?"] * 2).reward, expected)
    np.testing.assert_allclose(np.asarray(rewarded_by(head, embedder)(["Why the moon?"] * 2, told)), expected)


def test_without_a_chat_template_texts_are_joined_as_everywhere(tmp_path: Path) -> None:
    embedder = CausalLM(str(tiny_models.causal_lm(tmp_path / "bare", chat=False)))
    assert embedder.joint("Why?", "So.") == "Why?\n\nSo."


# --- devices and memory


def test_several_devices_share_the_work(
    model: Path, monkeypatch: pytest.MonkeyPatch, cache: Callable[[], None]
) -> None:
    texts = [f"text {i}" for i in range(40)]
    alone = CausalLM(str(model), batch_size=2).embed(texts).vectors
    cache()
    used = set()
    encode = _causal.Replica.encode

    def watched(self: Any, *args: Any, **options: Any) -> Any:
        used.add(id(self))
        return encode(self, *args, **options)

    monkeypatch.setattr(_causal.Replica, "encode", watched)
    monkeypatch.setattr(causal_lm, "devices", lambda _: ["cpu", "cpu", "cpu"])
    done = CausalLM(str(model), batch_size=2).embed(texts)
    assert done.computed == 40
    np.testing.assert_allclose(done.vectors, alone, atol=1e-6)
    assert len(used) > 1


def test_an_error_on_one_device_is_raised(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(causal_lm, "devices", lambda _: ["cpu", "cpu"])
    monkeypatch.setattr(_causal.Replica, "_forward", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        CausalLM(str(model), batch_size=1).embed(TEXTS)


def test_a_device_that_is_not_there_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embrm.core.device._has", lambda _: False)
    with pytest.raises(OptionError, match="device 'cuda' was asked for, and torch finds none on this machine"):
        CausalLM(str(model), device="cuda").embed(["x"])
    with use_device("cpu"):
        assert language_model.devices("auto") == ["cpu"]
    with pytest.raises(OptionError, match="device must be one of auto, cpu, cuda, mps, got 'tpu'"):
        CausalLM(str(model), device="tpu", precision="float32").embed(["x"])  # type: ignore[arg-type]


def test_every_visible_gpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embrm.core.device._has", lambda name: name == "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert language_model.devices("auto") == language_model.devices("cuda") == ["cuda:0", "cuda:1"]
    assert language_model.devices("cpu") == ["cpu"]


@pytest.mark.parametrize("cause", ["torch", "allocator"])
def test_out_of_memory_halves_the_batch(
    model: Path, monkeypatch: pytest.MonkeyPatch, cache: Callable[[], None], cause: str
) -> None:
    texts = [f"text number {i}" for i in range(40)]
    expected = CausalLM(str(model)).embed(texts).vectors
    cache()
    causal_lm._replicas.cache_clear()
    forward, sizes = _causal.Replica._forward, []

    def full(self: Any, rows: list[Any], **options: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 5:
            if cause == "torch":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            torch.empty(1 << 50)  # what no machine has: the processor's allocator refuses in its own words
        return forward(self, rows, **options)

    monkeypatch.setattr(_causal.Replica, "_forward", full)
    with pytest.warns(
        UserWarning, match=r"out of memory on cpu with \d+ × \d+ tokens; goes on with \d+ at once"
    ) as seen:
        done = CausalLM(str(model), batch_size=16).embed(texts)
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[2:]) <= 5
    assert len([w for w in seen if "out of memory" in str(w.message)]) == 2  # the halving lasts
    np.testing.assert_allclose(done.vectors, expected, atol=1e-5)
    causal_lm._replicas.cache_clear()


def test_a_single_text_that_does_not_fit_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(_causal.Replica, "_forward", full)
    with pytest.raises(OptionError, match=r"out of memory on cpu with a single text of \d+ tokens; make texts shorter"):
        CausalLM(str(model)).embed(["x"])


# --- what is refused


def test_a_model_of_the_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    says = r"cannot load model 'nobody/nothing'.*pass a folder that holds it .*hf download nobody/nothing --local-dir"
    with pytest.raises(OptionError, match=says):
        CausalLM("nobody/nothing").embed(["x"])
    with pytest.raises(OptionError, match=says):
        CausalLM("nobody/nothing").joint("x", "y")
    with pytest.raises(OptionError, match=f"{says.split(chr(39))[0]}.* at revision '{'a' * 40}'"):
        CausalLM("nobody/nothing", revision="a" * 40).embed(["x"])


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="holds no model that transformers can load"):
        CausalLM(str(tmp_path)).embed(["x"])


def test_options_are_checked(model: Path) -> None:
    with pytest.raises(OptionError, match=r"model= is missing; give the path of a folder or an id"):
        CausalLM()
    with pytest.raises(OptionError, match="neither a folder that exists nor an id on the hub"):
        CausalLM("./absent/x/y")
    with pytest.raises(OptionError, match="is a folder and has no revision"):
        CausalLM(str(model), revision="main")
    with pytest.raises(OptionError, match="pooling must be one of last, mean, got 'first'"):
        CausalLM(str(model), pooling="first")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="batch_size must be at least 1, got 0"):
        CausalLM(str(model), batch_size=0)
    with pytest.raises(OptionError, match="precision must be one of auto, float32, bfloat16, got 'int8'"):
        CausalLM(str(model), precision="int8").embed(["x"])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"layer 3 is not there; layers are 0 \(the tokens\) to 2, or -1"):
        CausalLM(str(model), layer=3).embed(["x"])
