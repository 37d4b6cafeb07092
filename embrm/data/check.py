"""What a file holds, as a head would see it: counts, what is odd about it, and examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.data import Pairs
from embrm.data.columns import numbers
from embrm.data.encode import encode, view_text
from embrm.data.faults import RowRules
from embrm.data.texts import AS_IT_IS, Texts, number_prompts, read_texts
from embrm.embedders import Embedder

SHOWN = 3


@dataclass(frozen=True, eq=False)
class Check:
    """What was found in a file.

    Attributes:
        layout, kind: how it was read.
        counts: rows, rows left out, prompts, texts and pairs or pools; ties, repeated pairs, pairs that stand there the
            other way around too, and pairs of equal texts; with an embedder also how many texts it cuts, and the pairs
            whose two texts become one vector.
        pairs: with an embedder the pairs as vectors, without those that become equal.
        examples: the first rows, each the texts that are embedded, joined to their prompt.
    """

    layout: str
    kind: str
    counts: dict[str, int]
    examples: list[list[str]] = field(default_factory=list)
    pairs: Pairs | None = None


def check_file(
    source: str | Path, *, kind: str | None = None, rules: RowRules = AS_IT_IS, embedder: Embedder | None = None
) -> Check:
    """Look at a file without fitting anything to it; rows that cannot be used are counted, and none stops it.

    Args:
        source: see `embrm.data.read_pairs`.
        kind: see `embrm.data.texts.read_texts`; None takes pairs or pools where the layout gives such.
        rules: how it is read.
        embedder: what the texts are embedded with; None embeds nothing.

    Raises:
        DataError: no layout knows the file, or none of its rows can be used.
    """
    rules = replace(rules, on_bad_row="skip") if rules.on_bad_row == "stop" else rules
    texts = read_texts(source, kind=kind or "judged", rules=rules)
    account = {name: count for name, count in texts.account.items() if isinstance(count, int)}
    counts = {**account, "prompts": len(set(number_prompts(texts)[0].tolist())), texts.kind: len(texts.rows)}
    if texts.kind != "texts":
        counts["texts"] = len(texts)
    if texts.kind == "pairs":
        counts |= _of_pairs(texts)
    if texts.kind == "pools":
        sizes = np.diff(texts.offsets)
        counts |= {"smallest_pool": int(sizes.min()), "largest_pool": int(sizes.max())}
    found, pairs = ({}, None) if embedder is None else _embedded(texts, embedder)
    counts |= found
    write = view_text("joint", embedder=embedder) if embedder is not None else view_text_plain
    shown = [range(*texts.offsets[i : i + 2].tolist()) for i in range(min(SHOWN, len(texts.rows)))]
    examples = [[write(texts.prompts[j], texts.responses[j]) for j in row] for row in shown]
    return Check(str(texts.account["layout"]), texts.kind, counts, examples, pairs)


def view_text_plain(prompt: str, response: str) -> str:
    """Return what is embedded of a prompt and a response by embedders that join them in no way of their own."""
    return f"{prompt}\n\n{response}" if prompt else response


def _of_pairs(texts: Texts) -> dict[str, int]:
    pairs = Counter(
        (texts.prompts[i], texts.responses[i], texts.responses[i + 1]) for i in range(0, len(texts.responses), 2)
    )
    turned = sum(count for (prompt, a, b), count in pairs.items() if (prompt, b, a) in pairs)
    found = {
        "ties": sum(bool(row.get("tie")) for row in texts.rows.values),
        "repeated": len(texts.rows) - len(pairs),
        "both_ways": turned,
        "equal_texts": texts.account.get("equal_texts", 0),
        "without_prompt": sum(not prompt for prompt in texts.prompts[::2]),
    }
    margins = [row["margin"] for row in texts.rows.values if row.get("margin") is not None]
    return {**found, "with_margin": len(margins)} if margins else found


def _embedded(texts: Texts, embedder: Embedder) -> tuple[dict[str, Any], Pairs | None]:
    done = encode(texts.prompts, texts.responses, embedder=embedder, prompt=number_prompts(texts)[0])
    found = {"cut_texts": int(done.cut.sum())}
    if texts.kind != "pairs":
        return found, None
    x, tie = done.features.matrix("joint"), numbers(texts.rows, "tie", default=0)
    differ = (x[0::2] != x[1::2]).any(axis=1)
    found["become_equal"] = int((~differ).sum())
    if not differ.any():
        return found, None
    first = np.arange(0, len(x), 2)
    pairs = Pairs(done.features, first, first + 1, tie=None if tie is None else tie != 0)
    return found, pairs.take(differ)
