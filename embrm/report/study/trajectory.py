"""Training runs as the page's slider needs them."""

from __future__ import annotations

from typing import Any

import numpy as np

from embrm.report.study.settings import rounded
from embrm.study.results import Results, Row

STEPS, SAMPLES, CLOUD, TEXTS = 200, 4, 500, 64  # at most that many are shown; of longer runs evenly spaced ones


def runs(results: Results) -> list[dict[str, Any]]:
    """Return every training run: its curves, its texts at each step, and where their latents lie."""
    return [_run(row) for row in _rows(results)]


def titles(results: Results) -> list[str]:
    """Return what each training run is called, in the same order."""
    return [f"{row.cell.head} on {row.cell.dataset}, seed {row.cell.seed}" for row in _rows(results)]


def _rows(results: Results) -> list[Row]:
    found = [row for row in results.select(kind="rl") if len(row.arrays.get("kl", ()))]
    return sorted(found, key=lambda row: results.config.titles.index(row.cell.head))


def _run(row: Row) -> dict[str, Any]:
    steps = len(row.arrays["kl"])
    shown = np.unique(np.linspace(0, steps - 1, min(steps, STEPS)).round().astype(int))
    curves = {name: rounded(row.arrays[name][shown]) for name in ("kl", "gold", "proxy") if name in row.arrays}
    watch = {
        name.removeprefix("watch."): rounded(values[shown])
        for name, values in row.arrays.items()
        if name.startswith("watch.") and len(values) == steps
    }
    attributes = list(row.notes.get("attributes", []))
    notes = row.notes.get("steps", [])
    told = [notes[i] for i in shown] if len(notes) == steps else []
    return {
        "attributes": attributes,
        "number": [int(note["step"]) for note in told] or shown.tolist(),
        **curves,
        "watch": watch,
        "cloud": rounded(row.arrays["cloud"][:CLOUD], 2) if "cloud" in row.arrays else [],
        "latent": rounded(row.arrays["latent"][shown, :TEXTS], 2) if "latent" in row.arrays else [],
        "steps": [_step(note) for note in told],
    }


def _step(note: dict[str, Any]) -> dict[str, Any]:
    sample = [
        {
            "prompt": str(text["prompt"]),
            "text": str(text["text"]),
            "counts": [int(n) for n in text.get("counts", ())],
            "proxy": rounded(text["proxy"], 2),
            "gold": rounded(text["gold"], 2),
        }
        for text in note.get("sample", [])[:SAMPLES]
    ]
    return {"means": {name: rounded(value, 2) for name, value in note.get("means", {}).items()}, "sample": sample}
