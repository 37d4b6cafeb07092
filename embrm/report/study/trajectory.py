"""Training runs as the page's slider needs them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from embrm.report.study.settings import rounded
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row

KL = Metric("run", "kl")
STEPS, SAMPLES, CLOUD, TEXTS = 200, 4, 500, 64  # at most that many are shown; of longer runs evenly spaced ones


def runs(results: Results) -> list[dict[str, Any]]:
    """Return every training run: its curves, its texts at each step, and where their latents lie."""
    return [_run(row) for row in _rows(results)]


def titles(results: Results) -> list[str]:
    """Return what each training run is called, in the same order."""
    return [_title(row.cell) for row in _rows(results)]


def _title(cell: Cell) -> str:
    by = f"{cell.head} by {cell.rule}" if cell.rule else cell.head
    return f"{by} on {cell.dataset}, {cell.mechanism}, seed {cell.seed}"


def together(results: Results) -> list[dict[str, Any]]:
    """Return the mean over seeds of the runs against each head, with the lowest and the highest seed at each step."""
    rows, groups = _rows(results), defaultdict(list)
    several = len({row.cell.mechanism for row in rows}) > 1
    for row in rows:
        groups[f"{row.cell.head}, {row.cell.mechanism}" if several else row.cell.head].append(row)
    return [{"line": line, "seeds": len(rows), **_over_seeds(rows)} for line, rows in groups.items()]


def _over_seeds(rows: list[Row]) -> dict[str, Any]:
    steps = min(len(row.arrays[KL]) for row in rows)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, STEPS)).round().astype(int))
    found: dict[str, Any] = {"number": shown.tolist()}
    for name in ("proxy", "gold"):
        curves = np.stack([row.arrays[Metric("run", name)][shown] for row in rows])
        found[name] = {
            "estimate": rounded(curves.mean(axis=0)),
            "low": rounded(curves.min(axis=0)),
            "high": rounded(curves.max(axis=0)),
        }
    return found


def _rows(results: Results) -> list[Row]:
    found = [row for row in results.select(kind="rl") if len(row.arrays.get(KL, ()))]
    return sorted(found, key=lambda row: results.config.titles.index(row.cell.head))


def _run(row: Row) -> dict[str, Any]:
    steps = len(row.arrays[KL])
    shown = np.unique(np.linspace(0, steps - 1, min(steps, STEPS)).round().astype(int))
    curves = {m.name: rounded(values[shown]) for m, values in row.arrays.items() if m.family == "run"}
    watch = {
        f"{metric.name}, in {metric.space}": rounded(values[shown])
        for metric, values in row.arrays.items()
        if metric.family == "watch" and len(values) == steps
    }
    cloud, latent = row.arrays.get(Metric("cloud")), row.arrays.get(Metric("latent"))
    attributes = list(row.notes.get("attributes", []))
    notes = row.notes.get("steps", [])
    told = [notes[i] for i in shown] if len(notes) == steps else []
    return {
        "attributes": attributes,
        "number": [int(note["step"]) for note in told] or shown.tolist(),
        **curves,
        "watch": watch,
        "cloud": [] if cloud is None else rounded(cloud[:CLOUD], 2),
        "latent": [] if latent is None else rounded(latent[shown, :TEXTS], 2),
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
