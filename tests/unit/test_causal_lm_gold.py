"""Reward models of transformers as gold, against transformers itself on one text at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embrm.data.encode import TruncationWarning
from embrm.errors import DataError, OptionError
from embrm.integrations import reward_model
from embrm.integrations.reward_model import RewardModelGold
from tests import tiny_models

PROMPTS = ["Why?", "How are plants green?", "Why?", "Why?", "Why?"]
RESPONSES = ["So.", "A longer answer. " * 20, "", "It ends here.<|im_end|>", "No."]


def alone(folder: Path, *, chat: bool = True) -> np.ndarray:
    """Return the logits `(n, labels)` of each text by itself, which needs no padding."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    net = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    net.config.pad_token_id = None  # the score is that of the last token
    out = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        if chat:
            ids = tokenizer.apply_chat_template(messages, return_tensors="pt")["input_ids"]
        else:
            ids = tokenizer(f"{prompt}\n\n{response}", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            out.append(net(ids).logits[0].double().numpy())
    return np.stack(out)


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("chat", [True, False])
def test_the_gold_is_the_model_s_logit(tmp_path: Path, pad: bool, chat: bool) -> None:
    folder = tiny_models.reward_model(tmp_path / "rm", pad=pad, chat=chat)
    gold = RewardModelGold(str(folder), batch_size=3)(PROMPTS, RESPONSES)
    assert gold.dtype == np.float64
    np.testing.assert_allclose(gold, alone(folder, chat=chat)[:, 0], atol=1e-5)
    assert np.ptp(gold) > 0.1


def test_messages_are_prompts_too(tmp_path: Path) -> None:
    folder = tiny_models.reward_model(tmp_path / "rm")
    gold = RewardModelGold(str(folder))
    text, messages = gold(["Why?"], ["So."]), gold([[{"role": "user", "content": "Why?"}]], ["So."])
    np.testing.assert_array_equal(text, messages)
    plain = RewardModelGold(str(tiny_models.reward_model(tmp_path / "plain", chat=False)))
    with pytest.raises(DataError, match="a prompt is a list of messages, but the model has no chat template"):
        plain([[{"role": "user", "content": "Why?"}]], ["So."])


def test_two_logits_need_a_label_and_give_their_difference(tmp_path: Path) -> None:
    folder = tiny_models.reward_model(tmp_path / "two", labels=2)
    with pytest.raises(OptionError, match=r"has 2 logits \(0: LABEL_0, 1: LABEL_1\), got label=None; give the label"):
        RewardModelGold(str(folder))(PROMPTS, RESPONSES)
    with pytest.raises(OptionError, match=r"has 2 logits .* got label=2; give the label of the good one"):
        RewardModelGold(str(folder), label=2).check()
    expected = alone(folder)
    for label, sign in ((1, 1), (0, -1)):
        got = RewardModelGold(str(folder), label=label)(PROMPTS, RESPONSES)
        np.testing.assert_allclose(got, sign * (expected[:, 1] - expected[:, 0]), atol=1e-5)


def test_of_several_logits_the_log_odds_are_taken(tmp_path: Path) -> None:
    folder = tiny_models.reward_model(tmp_path / "three", labels=3)
    p = np.exp(alone(folder))
    p = p[:, 2] / p.sum(axis=1)
    got = RewardModelGold(str(folder), label=2)(PROMPTS, RESPONSES)
    np.testing.assert_allclose(got, np.log(p / (1 - p)), atol=1e-5)


def test_one_logit_needs_no_label(tmp_path: Path) -> None:
    folder = tiny_models.reward_model(tmp_path / "rm")
    with pytest.raises(OptionError, match=r"has a single logit, so label=1 chooses none; leave it out"):
        RewardModelGold(str(folder), label=1)(PROMPTS, RESPONSES)


def test_long_texts_are_cut_with_a_warning(tmp_path: Path) -> None:
    gold = RewardModelGold(str(tiny_models.reward_model(tmp_path / "rm")))
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer than the gold model reads"):
        assert np.isfinite(gold(["Why?", "Why?"], ["words " * 600, "So."])).all()


def test_a_model_without_a_trained_score_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.causal_lm(tmp_path / "lm")
    with pytest.raises(OptionError, match=r"is a LlamaForCausalLM, and a gold needs a trained seq"):
        RewardModelGold(str(folder))(["Why?"], ["So."])
    claim = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "good"}}
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | claim))
    with pytest.raises(OptionError, match=r"lacks weights that AutoModelForSequenceClassification needs: score.weight"):
        RewardModelGold(str(folder))(["Why?"], ["So."])


def test_out_of_memory_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_models.reward_model(tmp_path / "rm")
    expected = RewardModelGold(str(folder))(PROMPTS, RESPONSES)
    forward = reward_model._Replica._forward

    def full(self: Any, rows: list[Any]) -> Any:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, rows)

    monkeypatch.setattr(reward_model._Replica, "_forward", full)
    with pytest.warns(UserWarning, match="out of memory on cpu with [25] ×"):
        got = RewardModelGold(str(folder))(PROMPTS, RESPONSES)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_model_that_was_replaced_is_loaded_again(tmp_path: Path) -> None:
    folder = tiny_models.reward_model(tmp_path / "rm")
    gold = RewardModelGold(str(folder))
    gold(PROMPTS, RESPONSES)
    tiny_models.reward_model(folder, labels=2)
    with pytest.raises(OptionError, match="has 2 logits"):
        gold(PROMPTS, RESPONSES)


def test_what_cannot_be_scored_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="gold needs one prompt a response, got 1 prompts, 2 responses"):
        RewardModelGold("some/model")(["a"], ["b", "c"])
    with pytest.raises(OptionError, match="batch_size must be at least 1, got 0"):
        RewardModelGold("some/model", batch_size=0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OptionError, match=r"cannot load model 'nobody/nothing'.*pass a folder that holds it"):
        RewardModelGold("nobody/nothing")(["a"], ["b"])
