"""A study's data set written by a language model and judged by a reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from embrm.core.arrays import Array
from embrm.core.recipe import build
from embrm.core.registry import register
from embrm.data.prompts import read_prompts
from embrm.data.texts import Texts
from embrm.embedders.cache.store import cache_folder
from embrm.integrations.reward_model import RewardModelGold, gold_of
from embrm.lm.checkpoint import Prompt
from embrm.policies.causal_lm import CausalLMPolicy
from embrm.policies.pool_file import write_pool
from embrm.study.datasets._base import PairCounter
from embrm.study.datasets.pool import PoolData
from embrm.study.results import key_of
from embrm.study.schema import DatasetConfig
from embrm.world import World
from embrm.world.judge import NAME as WORLD
from embrm.world.judge import WorldGold, world_prompts


@register
@dataclass(frozen=True, eq=False)
class LanguageModelData(PoolData):
    """A pool that a language model wrote; the file lies in the cache, and is gone on with where it was stopped.

    Where the world judges, annotators like beyond the gold what `world.yaml` says of them, and not mere length.

    Attributes:
        policy: π_ref.
        gold_model: the gold reward.
        prompts: what the policy was asked.
    """

    policy: CausalLMPolicy
    gold_model: RewardModelGold | WorldGold
    prompts: Sequence[Prompt]
    needs: ClassVar[tuple[str, ...]] = ("prompts", "policy", "gold")

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of what writes the pool, what judges it, and what embeds it."""
        return key_of(_Written.of(config).key, config.embedder, config.embedder_options, config.omit)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Write the pool, or find it in the cache, and read it."""
        asked = _Written.of(config)
        path = asked.path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            asked.gold_model.check()
            n = config.responses
            write_pool(asked.policy, path, prompts=asked.prompts, n=n, seed=0, ids=asked.ids, gold=asked.gold_model)
            asked.policy.release()
        return cls._opened(config.model_copy(update={"pool": str(path)}), embed=True, **asked.parts)

    @classmethod
    def liked(cls, config: DatasetConfig, texts: Texts) -> Array:
        """Return what biased annotators like of each text beyond the gold."""
        gold = gold_of(config.gold, what=f"dataset '{config.name}': gold")
        if isinstance(gold, WorldGold):
            return gold.liking(texts.prompts, texts.responses)
        return super().liked(config, texts)

    @classmethod
    def counter(cls, config: DatasetConfig) -> PairCounter | None:
        """Return what counts the pairs of the pool, once it is written."""
        asked = _Written.of(config)
        path = asked.path
        if not path.exists():
            return None
        return cls._opened(config.model_copy(update={"pool": str(path)}), embed=False, **asked.parts).available


@dataclass(frozen=True)
class _Written:
    """What a pool is written and judged by, and the key of its file."""

    policy: CausalLMPolicy
    gold_model: RewardModelGold | WorldGold
    ids: Sequence[str]
    prompts: Sequence[Prompt]
    key: str

    @property
    def parts(self) -> dict[str, Any]:
        """The fields of the data set."""
        return {"policy": self.policy, "gold_model": self.gold_model, "prompts": self.prompts}

    @property
    def path(self) -> Path:
        return cache_folder() / "pools" / f"{self.key}.jsonl"

    @classmethod
    def of(cls, config: DatasetConfig) -> _Written:
        policy = build(CausalLMPolicy, config.policy, what=f"dataset '{config.name}': policy")
        gold_model = gold_of(config.gold, what=f"dataset '{config.name}': gold")
        ids, prompts = world_prompts(World.load()) if config.prompts == WORLD else read_prompts(config.prompts)
        ids, prompts = ids[: config.first], prompts[: config.first]
        key = key_of(policy.recipe, gold_model.identity, ids, prompts, config.responses)
        return cls(policy, gold_model, ids, prompts, key)
