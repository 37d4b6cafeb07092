"""The parts of a study's configuration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from embrm.core.option_numbers import LARGEST, LARGEST_SEED
from embrm.core.recipe import build
from embrm.world.mechanism import Mechanism

OWN_LABELS = "own labels"  # the mechanism of data whose labels are what they are
WINDOW = 5  # steps of a training run whose texts the detectors see together
TEST_SHARE = 0.25  # of the prompts of files, held out to measure on
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetConfig(_Part):
    """Where preferences and pools come from.

    Attributes:
        name: what tables call it.
        kind: "world" is the shipped one; "fast" makes a sample of it on the spot, meant for the embedder "static";
            "pool" makes preferences from the gold of a candidate pool, as simulated annotators would; "files" takes a
            pair file, and a pool file where one is given; "language_model" has a language model write the pool and a
            reward model judge it. `embrm list datasets` lists those of other packages as well.
        embedder: whose vectors: of the world "minilm" or "hashing", else any embedder's name.
        embedder_options: fields of its recipe.
        views: which texts of a pool or a pair file are embedded, "joint", "response" or "prompt", for heads that read
            them, also side by side; the length needs no vectors. Of the world there is "joint".
        second: of the world, the embedder of a second view, for ensembles across embedders; "" for none.
        pool, pairs: paths of the pool file (or a folder with candidates.jsonl.gz and its vectors) and the pair file.
        columns: what embrm calls a column → what the pair file, or without one the pool, calls it; see `embrm.data`.
        layout: the name of its layout, as `embrm data layouts` lists them; "" tells it from the columns.
        vectors: path of vectors made elsewhere, one a response of the pool; "" embeds the texts.
        omit: policies that are left out of the pool, such as one that hacks the judge.
        prompts: of "language_model", a file with a prompt a row, a data set on the hub, or "world" for the world's.
        first: how many of these prompts; None takes all.
        policy: what writes: fields of `embrm.policies.causal_lm.CausalLMPolicy`, `model` above all.
        responses: how many a prompt.
        gold: what judges: fields of `embrm.integrations.reward_model.RewardModelGold`, or {model: world}.
        options: of "fast", `seed` and the fields of `embrm.world.fresh.FreshSize`; and what a kind of another package
            asks for beside these.
    """

    name: str
    kind: str = "world"
    embedder: str = "minilm"
    embedder_options: dict[str, Any] = {}
    views: list[str] = ["joint"]
    second: str = ""
    pool: str = ""
    pairs: str = ""
    columns: dict[str, str] = {}
    layout: str = ""
    vectors: str = ""
    omit: list[str] = []
    prompts: str = ""
    first: Positive | None = None
    policy: dict[str, Any] = {}
    responses: Positive = 32
    gold: dict[str, Any] = {}
    options: dict[str, Any] = {}


class TrainedPart(_Part):
    """What learns from training pairs in a study: a head or an experiment.

    Attributes:
        name: as `embrm list heads` or `embrm list experiments` gives it.
        options: fields of its recipe.
        title: what tables, figures and claims call it; without one, its name.
        datasets, pairs, mechanisms, flips, seeds: where it is not wanted everywhere; None means the study's.
    """

    name: str
    options: dict[str, Any] = {}
    title: str = ""
    datasets: list[str] | None = None
    pairs: list[Positive] | None = None
    mechanisms: list[str] | None = None
    flips: list[float] | None = None
    seeds: list[Seed] | None = None


class HeadConfig(TrainedPart):
    """One reward head of a study.

    Attributes:
        grid: option → values: one head for every combination, whose titles then say which.
        tuned: whether its options are chosen on validation prompts; of a grid they are not.
        rules: titles of the rules to apply; None applies every rule that the head's reward allows.
    """

    grid: dict[str, list[Any]] = {}
    tuned: bool = True
    rules: list[str] | None = None

    def expanded(self) -> Iterator[HeadConfig]:
        """Yield one head for each point of the grid, or the head itself."""
        title = self.title or self.name
        for point in itertools.product(*self.grid.values()):
            at = dict(zip(self.grid, point, strict=True))
            name = " ".join([title, *(f"{key}={value}" for key, value in at.items())])
            yield self.model_copy(
                update={"title": name, "options": self.options | at, "grid": {}, "tuned": self.tuned and not at}
            )


class RuleConfig(_Part):
    """One rule by which a policy is optimised against a reward.

    Attributes:
        name: as `embrm list selectors` gives it.
        options: fields of its recipe.
        title: what tables and claims call it; without one, its name and options.
        penalty: "latent" gives the rule `penalised` the squared distance of each latent to those of the training texts;
            "experts" gives the rule `imitation` how much less a text is like the chosen training texts than like all.
        heads: titles of the heads that it is applied to; none means every head whose reward allows it.
    """

    name: str
    options: dict[str, Any] = {}
    title: str = ""
    penalty: Literal["", "latent", "experts"] = ""
    heads: list[str] = []

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.title or " ".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])


class TuningConfig(_Part):
    """How options are chosen, equally for every head: on a seed of its own, on validation prompts.

    Attributes:
        budget: recipes tried for each head, data set and flip fraction; 1 takes the head as it is.
        pairs: training pairs; the size nearest to it among the study's.
    """

    budget: Positive = 3
    pairs: Positive = 1000


class DetectionConfig(_Part):
    """Where detectors look, along the path of each of some heads.

    Attributes:
        heads: titles.
        detectors: names.
        pairs, mechanisms, flips: of the training of the models that are looked at; None takes all of them.
        spaces: of vectors, in which detectors look.
        outputs: texts drawn from the policy at each point.
        points: of the path.
    """

    heads: list[str] = []
    detectors: list[str] = ["csi", "mop", "mahalanobis", "mmd"]
    pairs: Positive = 4000
    mechanisms: list[str] | None = None
    flips: list[float] | None = None
    spaces: Annotated[list[Literal["latent", "joint", "pca"]], Field(min_length=1)] = ["latent", "joint", "pca"]
    outputs: Annotated[int, Field(ge=20, le=LARGEST)] = 400
    points: Annotated[int, Field(ge=3, le=100_000)] = 9

    def watches(self, head: str, *, pairs: int, mechanism: str, flips: float) -> bool:
        """Say whether detectors look at the path of a head that was fitted so."""
        among = self.mechanisms is None or mechanism in (OWN_LABELS, *self.mechanisms)
        return head in self.heads and pairs == self.pairs and among and (self.flips is None or flips in self.flips)


class ExperimentConfig(TrainedPart):
    """One experiment of a study, beside its heads: what neither their curves nor detectors measure."""

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.title or self.name


class RLConfig(_Part):
    """Live reinforcement learning; its new texts need the embedder itself.

    A language model learns by TRL's GRPO, the factorised policy of the world by REINFORCE.

    Attributes:
        heads: titles of the heads that a policy is optimised against.
        dataset: name of the data set.
        policy: what learns in the world: "grammar", the factorised policy, or "causal_lm", the world's own language
            model, against the heads whose exact path the study has too.
        pairs, mechanisms, flips, seeds: of the models; each head has a run for each mechanism and seed.
        rules: titles; a head that has one of them has runs by the value of that rule too, beside those by its mean.
        steps, batch, learning_rate, kl_weight: see `embrm rl`.
        group, max_new_tokens: of a language model, see `embrm rl`.
        options: of a language model, further options of `trl.GRPOConfig`.
    """

    heads: list[str]
    dataset: str
    policy: Literal["grammar", "causal_lm"] = "grammar"
    pairs: Positive = 4000
    mechanisms: Annotated[list[str], Field(min_length=1)] = ["biased"]
    flips: float = 0.25
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    rules: list[str] = []
    steps: Positive = 100
    batch: Annotated[int, Field(ge=2, le=LARGEST)] = 32
    learning_rate: float = 0.1
    kl_weight: float = 0.02
    group: Annotated[int, Field(ge=2, le=LARGEST)] = 8
    max_new_tokens: Positive = 256
    options: dict[str, Any] = {}


class StudyConfig(_Part):
    """A study; the comments in configs/laptop.yaml say what each value does."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    datasets: Annotated[list[DatasetConfig], Field(min_length=1)]
    mechanisms: Annotated[dict[str, dict[str, Any]], Field(min_length=1)] = {"fair": {}, "biased": {"bias": 1.0}}
    flips: Annotated[list[Annotated[float, Field(ge=0, lt=0.5)]], Field(min_length=1)] = [0.0, 0.25]
    pairs: Annotated[list[Annotated[int, Field(ge=10, le=LARGEST)]], Field(min_length=1)]
    heads: Annotated[list[HeadConfig], Field(min_length=1)]
    rules: list[RuleConfig] = [RuleConfig(name="mean")]
    sizes: Annotated[list[Positive], Field(min_length=2)] = [1, 2, 4, 8, 16, 32, 64, 128]
    kl_end: Annotated[float, Field(gt=0)] = 4.0
    kl_points: Annotated[int, Field(ge=3, le=100_000)] = 25
    tuning: TuningConfig = TuningConfig()
    detection: DetectionConfig = DetectionConfig()
    experiments: list[ExperimentConfig] = []
    rl: RLConfig | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    core_seconds: Annotated[float, Field(gt=0)] = 7200.0

    @property
    def titles(self) -> list[str]:
        """Titles of all heads, each once."""
        return list(dict.fromkeys(head.title for head in self.heads))

    def mechanism(self, title: str) -> Mechanism:
        """Return the mechanism of a title; labels that are what they are have none.

        Raises:
            OptionError: one of its values cannot be.
        """
        return build(Mechanism, self.mechanisms.get(title, {}), what=f"mechanism '{title}'")

    def rules_of(self, head: HeadConfig) -> list[RuleConfig]:
        """Return the rules that a head asks for, or all that are not for other heads."""
        if head.rules is not None:
            return [rule for rule in self.rules if rule.label in head.rules]
        return [rule for rule in self.rules if not rule.heads or head.title in rule.heads]
