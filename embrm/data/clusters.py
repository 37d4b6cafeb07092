"""Which prompts of a file belong together, and are drawn together where intervals come from resampling."""

from __future__ import annotations

import numpy as np

from embrm.core.arrays import IntArray
from embrm.data.chat import short
from embrm.data.layouts._layout import is_missing
from embrm.data.texts import Texts
from embrm.errors import DataError


def clusters(texts: Texts, prompt: IntArray) -> IntArray | None:
    """Return the number of each text's cluster `(m,)`, of which a column `cluster` has the name, or None without one.

    Args:
        texts: of a file.
        prompt: `(m,)` the numbers of their prompts.

    Raises:
        DataError: some prompts have none, or one has two.
    """
    names = [row.get("cluster") for row in texts.rows.values]
    given = {name for name in names if not is_missing(name)}
    if not given:
        return None
    row = np.repeat(np.arange(len(names)), np.diff(texts.offsets))
    of_prompt: dict[int, object] = {}
    for p, i in zip(prompt.tolist(), row.tolist(), strict=True):
        if not is_missing(names[i]) and of_prompt.setdefault(p, names[i]) != names[i]:
            raise DataError(
                f"{texts.rows.where(i)}: cluster is {short(names[i])}, but its prompt was in {short(of_prompt[p])} "
                "before; a prompt belongs to one cluster"
            )
    missing = np.setdiff1d(prompt, list(of_prompt))
    if missing.size:
        first = int(row[np.flatnonzero(prompt == missing[0])[0]])
        raise DataError(
            f"{missing.size} of {len(np.unique(prompt))} prompts of {texts.rows.name} have no cluster, the first in "
            f"{texts.rows.where(first)}; give it to all of them, or leave the column out (--columns cluster=)"
        )
    number = {name: i for i, name in enumerate(dict.fromkeys(of_prompt.values()))}
    return np.array([number[of_prompt[p]] for p in prompt.tolist()], dtype=np.int64)
