"""A first configuration for one's own files: what they can bear is counted, and comments say what can be changed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embrm.core.arrays import Array
from embrm.data.columns import gold
from embrm.data.read import as_pairs
from embrm.data.texts import Texts, number_prompts, read_texts
from embrm.errors import DataError, OptionError
from embrm.study.schema import TEST_SHARE

PROMPTS = 16  # at least: a quarter of them is held out, and four are needed to find a peak on half and measure it
MOST_PAIRS = 4000  # to train on, as in the study of the shipped world
KL_END = 3.0  # nats, of pools that are large enough


@dataclass(frozen=True)
class StudyDraft:
    """A configuration that was written for files.

    Attributes:
        yaml: its text.
        kind: of the data set.
        prompts: how many the file of preferences, or of pools, has.
        pairs: training pairs that there are: of the file, or that differ in gold among the pools' responses.
        sizes: sizes of training sets that it asks for.
        gold: whether gold is known, without which claims about policies cannot be run.
    """

    yaml: str
    kind: str
    prompts: int
    pairs: int
    sizes: tuple[int, ...]
    gold: bool


def draft(sources: Sequence[str]) -> StudyDraft:
    """Return a configuration for a file of preferences, a file of pools, or one of each.

    Preferences become a data set of kind "files", with the pools if there are any; pools alone, whose gold makes the
    preferences, one of kind "pool".

    Args:
        sources: one path, or two.

    Raises:
        DataError: a file cannot be read, has too few prompts or pairs, or pools have no gold and nothing else says
            which response is better.
        OptionError: there are two files of one kind, or more.
    """
    found = {(texts := _read(source)).kind: (source, texts) for source in sources}
    if not found or len(found) != len(sources) or not found.keys() <= {"pairs", "pools"}:
        raise OptionError(
            "a study takes one file of preferences (prompt, chosen, rejected), one of pools (prompt, responses), or "
            f"one of each, got {', '.join(sources) or 'none'}"
        )
    pools = found.get("pools")
    known = pools is not None and gold(pools[1].rows) is not None
    if "pairs" not in found:
        assert pools is not None
        return _of_pools(*pools, known=known)
    return _of_pairs(*found["pairs"], pools, known=known)


def _read(source: str) -> Texts:
    path = Path(source)
    file = path / "candidates.jsonl.gz" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"there is no file {file}; a study reads files of this machine, so that it can go on")
    return read_texts(file, kind="judged")


def _of_pairs(source: str, texts: Texts, pools: tuple[str, Texts] | None, *, known: bool) -> StudyDraft:
    pairs = as_pairs(texts, features=np.zeros((len(texts), 1)))
    prompts = len(np.unique(pairs.prompt))
    _enough(prompts, source)
    training = len(pairs.split(TEST_SHARE, seed=0)[0])
    where = {"pairs": source} | ({"pool": pools[0]} if pools else {})
    counted = f"{len(pairs)} pairs of {prompts} prompts, {training} of them to train on"
    return _written("files", where, counted, pools and pools[1], prompts=prompts, pairs=training, known=known)


def _of_pools(source: str, texts: Texts, *, known: bool) -> StudyDraft:
    if not known:
        raise DataError(
            f"{source} has no gold, so nothing says which of its responses is better; add a 'gold' list to each row, "
            "or give a file of preferences as well (--init PAIRS --init POOLS)"
        )
    prompts = len(np.unique(number_prompts(texts)[0]))
    _enough(prompts, source)
    values = gold(texts.rows)
    assert values is not None
    unequal = sum(_unequal(part) for part in np.split(values, texts.offsets[1:-1]))
    # Half of them: pairs are drawn at random, as many of each prompt, and those of small pools come more than once.
    bearable = int(unequal * (1 - TEST_SHARE) / 2)
    counted = f"{len(texts)} responses to {prompts} prompts, about {unequal} pairs that differ in gold"
    return _written("pool", {"pool": source}, counted, texts, prompts=prompts, pairs=bearable, known=known)


def _unequal(values: Array) -> int:
    """Return how many pairs of responses differ."""
    same = np.unique(values, return_counts=True)[1]
    return int((len(values) ** 2 - (same**2).sum()) // 2)


def _enough(prompts: int, source: str) -> None:
    if prompts < PROMPTS:
        raise DataError(f"{source} has {prompts} prompts, and a study needs at least {PROMPTS}; add pairs of others")


def _written(
    kind: str, where: dict[str, str], counted: str, pools: Texts | None, *, prompts: int, pairs: int, known: bool
) -> StudyDraft:
    sizes = _sizes(pairs)
    if not sizes:
        raise DataError(f"there are {pairs} pairs to train on, and a study needs at least 10; add pairs")
    name = Path(next(iter(where.values()))).name.partition(".")[0]
    files = "".join(f", {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in where.items())
    smallest = 1 if pools is None else int(np.diff(pools.offsets).min())
    text = TEMPLATE.format(
        counted=counted,
        gold="" if known else NO_GOLD,
        dataset=f"{{name: {json.dumps(name, ensure_ascii=False)}, kind: {kind}{files}, embedder: minilm}}",
        mechanisms="" if kind == "files" else MECHANISMS,
        sizes=list(sizes),
        largest=sizes[-1],
        grid=f"{{pairs: [{sizes[-1]}]}}" if known else "null",
        kl_end=round(min(KL_END, 0.7 * math.log(smallest)), 1) if known and smallest > 1 else KL_END,
    )
    return StudyDraft(text, kind, prompts, pairs, sizes, known)


def _sizes(pairs: int) -> tuple[int, ...]:
    """Return a quarter of the pairs and all of them, at least ten, as far as a study of minutes goes."""
    largest = min(pairs, MOST_PAIRS)
    return tuple(size for size in (largest // 4, largest) if size >= 10)


NO_GOLD = """# No gold is known: accuracy, calibration and the effect of label noise are measured, on held-out pairs.
# Claims about policies say "not run": they need pools with `gold` beside the pairs (--init PAIRS --init POOLS).
"""
MECHANISMS = """mechanisms:                 # how the simulated annotators' pairs come to be; null takes one out
  biased: {bias: 1.0}       # their liking for length, in sd of a prompt's pool
  confounded: null          # {confounding: 1.0}: long texts are good ones; it leaves fewer pairs
"""
TEMPLATE = """# A study of your data: {counted}.
# Run it with `embrm study --config THIS_FILE`, from the folder that the paths below start in; `--dry-run` says how long
# it takes, `--set KEY=VALUE` changes a value for one run. A quarter of the prompts is held out to measure on.
{gold}extends: pool               # what is not said here is as in that configuration, which is shipped with embrm
seeds: [0, 1, 2]            # each trains every head once; five give shorter intervals
datasets:                   # `embrm list embedders` names other embedders; `embedder_options: {{...}}` sets theirs
  - {dataset}
{mechanisms}flips: [0.0, 0.25]          # share of labels that is flipped at random; 0 leaves them as they are
pairs: {sizes}            # sizes of training sets, at most {largest} here
heads:                      # by title; null takes one out, `NAME: {{}}` adds one of `embrm list heads`
  brme: {{pairs: null}}       # pairs: null trains a head at all sizes, pairs: [{largest}] at that one
  more seeds of brme: null
  dropout: {{pairs: null}}
  bnrm: {{pairs: null}}
  odin: {{pairs: null}}
  ebrm: {{pairs: null}}
  boosting: {{pairs: null}}
  grid of inform: {grid}
tuning: {{budget: 3, pairs: {largest}}}   # recipes tried for each head, on validation prompts
detection: {{heads: [mlp, inform], pairs: {largest}}}   # whose policies detectors look at, where gold is known
kl_end: {kl_end}                 # nats; policies are followed so far from the pools, as far as these bear it
"""
