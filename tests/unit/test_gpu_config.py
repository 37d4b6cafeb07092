"""The configuration `gpu` without a GPU: all that it names is constructed, the networks on meta tensors."""

from __future__ import annotations

import pytest
import torch

from embrm.core.recipe import build
from embrm.embedders import Embedder
from embrm.errors import OptionError
from embrm.integrations.grpo import GRPO
from embrm.integrations.reward_model import RewardModelGold, gold_of
from embrm.policies.causal_lm import CausalLMPolicy
from embrm.study.config import load_config
from embrm.study.schema import DatasetConfig
from embrm.world.judge import WorldGold

FULL, TINY = load_config("gpu"), load_config("gpu-tiny")


@pytest.mark.parametrize("data", [FULL.datasets[0], TINY.datasets[0]], ids=["gpu", "gpu-tiny"])
def test_policy_embedder_and_gold_can_be_made(data: DatasetConfig) -> None:
    policy = build(CausalLMPolicy, data.policy, what="policy")
    assert policy.max_new_tokens == data.policy["max_new_tokens"]
    Embedder.of({"name": data.embedder, "options": data.embedder_options})
    assert isinstance(gold_of(data.gold, what="gold"), RewardModelGold | WorldGold)


@pytest.mark.parametrize("config", [FULL, TINY], ids=["gpu", "gpu-tiny"])
@pytest.mark.filterwarnings("ignore")  # those of TRL
def test_trl_takes_every_option(config: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    asked = config.rl  # type: ignore[attr-defined]
    names = ("steps", "batch", "learning_rate", "kl_weight", "group", "max_new_tokens", "options")
    made = GRPO(**{name: getattr(asked, name) for name in names}).config(str(tmp_path_factory.mktemp("trl")), seed=0)
    assert (made.max_steps, made.num_generations) == (asked.steps, asked.group)
    assert made.max_completion_length == asked.max_new_tokens


def test_only_values_differ() -> None:
    """Of what the two files set themselves, and of each part's own keys."""
    full, tiny = (config.model_dump(exclude_unset=True) for config in (FULL, TINY))
    assert full.keys() == tiny.keys()
    (large,), (small,) = full["datasets"], tiny["datasets"]
    assert large.keys() == small.keys()
    for part in ("policy", "embedder_options"):
        assert large[part].keys() == small[part].keys()
    assert full["rl"].keys() >= tiny["rl"].keys()
    assert {rule["name"] for rule in tiny["rules"]} <= {rule["name"] for rule in full["rules"]}


@pytest.mark.parametrize("kind", ["Qwen3ForCausalLM", "LlamaForCausalLM", "LlamaForSequenceClassification"])
def test_the_architectures_exist_and_compute(kind: str) -> None:
    """Those of Qwen3 and of Skywork's reward model: at full width on meta tensors, and a tiny copy that computes."""
    import transformers

    cls = getattr(transformers, kind)
    with torch.device("meta"):
        assert sum(weight.numel() for weight in cls(cls.config_class(num_hidden_layers=1)).parameters()) > 1e8
    small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "head_dim": 16}
    net = cls(cls.config_class(**small, num_key_value_heads=1, num_hidden_layers=2, num_labels=1, pad_token_id=0))
    with torch.inference_mode():
        out = net(input_ids=torch.ones((2, 5), dtype=torch.long), attention_mask=torch.ones((2, 5)))
    assert out.logits.shape == ((2, 1) if "Sequence" in kind else (2, 5, 64))
    assert out.logits.isfinite().all()


def test_an_option_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"GRPOConfig has no option 'temprature'.*temperature"):
        GRPO(options={"temprature": 0.7}).config("out", seed=0)
    with pytest.raises(OptionError, match="gold: the world's gold has no label"):
        gold_of({"model": "world", "label": 1}, what="gold")
