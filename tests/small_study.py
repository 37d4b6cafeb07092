"""Studies that take seconds: on a pool of planted texts, or on a corner of the shipped world."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

GOOD = ["correct", "step", "clear", "useful", "precise", "tested", "works"]
BAD = ["wrong", "vague", "never", "maybe", "nothing", "useless", "broken"]


def write_pool(path: Path, *, prompts: int = 32, responses: int = 8, gold: bool = True) -> Path:
    """Write a candidate pool whose gold is the share of good words."""
    rng = random.Random(0)
    rows = []
    for i in range(prompts):
        quality = [rng.random() for _ in range(responses)]
        texts = [" ".join(rng.choice(GOOD if rng.random() < q else BAD) for _ in range(12)) for q in quality]
        row: dict[str, Any] = {"id": f"q{i}", "prompt": f"How do I mend lamp {i}?", "responses": texts}
        rows.append(row | ({"gold": quality} if gold else {}))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def on_pool(path: Path, **changes: Any) -> dict[str, Any]:
    """Return the values of a study of two heads on that pool: 3 controls, 2 choices of options, 6 fits."""
    return {
        "seeds": [0, 1],
        "datasets": [{"name": "lamps", "kind": "pool", "pool": str(path), "embedder": "hashing"}],
        "flips": [0.25],
        "pairs": [60],
        "heads": [
            {"name": "linear", "options": {"members": 2}},
            {"name": "mlp", "options": {"epochs": 2}, "mechanisms": ["biased"], "rules": ["mean"]},
        ],
        "rules": [{"name": "mean"}, {"name": "worst_case"}],
        "sizes": [1, 4, 8],
        "kl_end": 1.0,
        "kl_points": 3,
        "tuning": {"budget": 2, "pairs": 60},
    } | changes


def on_world(**changes: Any) -> dict[str, Any]:
    """Return the values of a study of two heads on the shipped world: 3 controls, 2 choices of options, 8 fits."""
    return {
        "seeds": [0, 1],
        "datasets": [{"name": "world", "embedder": "hashing"}],
        "mechanisms": {"biased": {"bias": 1.0}},
        "flips": [0.25],
        "pairs": [100, 200],
        "heads": [
            {"name": "linear", "rules": ["mean"]},
            {"name": "mlp", "options": {"epochs": 2}},
        ],
        "rules": [{"name": "mean"}],
        "sizes": [1, 4, 16],
        "kl_end": 1.0,
        "kl_points": 3,
        "tuning": {"budget": 2, "pairs": 200},
    } | changes


def write_config(path: Path, values: dict[str, Any]) -> Path:
    """Write a configuration as a person would."""
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
