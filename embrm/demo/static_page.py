"""The page as one file without a server: the hashing embedder and linear heads in JavaScript, paths made before."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import Array
from embrm.core.files import write_file
from embrm.demo.judge import Judge
from embrm.demo.page_files import page_part, page_script
from embrm.demo.setting import FitSetting, Seat
from embrm.demo.stage import WorldStage
from embrm.detectors import FittedCalibrated
from embrm.embedders import registry as embedders
from embrm.world import World
from embrm.world.fresh import FreshSize, draw_sample

DIMENSION = 256  # of the vectors: what a browser multiplies at each keystroke
SIZE = FreshSize(topics=24, stock=128, pool=64, stratum=16, refinements=2)
MECHANISMS = ("fair", "biased", "confounded")
RULES = ("mean", "worst_case")
PROMPTS = 12  # that the page offers
DETECTORS = ("latent distance", "disagreement", "length")
HEAD = "linear"
POLICY = (
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; script-src {script}; style-src {style}"
)


def write_page(path: str | Path, *, seed: int = 0, size: FreshSize = SIZE) -> None:
    """Write the page to a file that any browser opens without a network.

    Args:
        path: the HTML file.
        seed: of the world's texts.
        size: of the sample that the heads are fitted on.

    Raises:
        OptionError: the file cannot be written.
    """
    embedder = embedders.get("hashing")(dimension=DIMENSION)
    stage = WorldStage(draw_sample(World.load(), embedder, seed=seed, size=size), embedder)
    data = json.dumps(page_data(stage), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    with write_file(path) as place:
        place.write_text(_page(data.replace("<", "\\u003c")), encoding="utf-8")


def page_data(stage: WorldStage) -> dict[str, Any]:
    """Return all that the page computes with, JSON-ready."""
    state, spec = stage.state(), stage.sample.world.spec
    state |= {
        "prompts": state["prompts"][:PROMPTS],
        "heads": {HEAD: list(RULES)},
        "mechanisms": list(MECHANISMS),
    }
    texts: dict[str, int] = {}
    return {
        "state": state,
        "dimension": DIMENSION,
        "empty": spec.reference.empty,
        "worth": {name: [effect.first, effect.beyond] for name, effect in spec.gold.items()},
        "judges": {name: _judge(stage, replace(stage.usual, mechanism=name), texts) for name in MECHANISMS},
        "texts": list(texts),
    }


def _judge(stage: WorldStage, setting: FitSetting, texts: dict[str, int]) -> dict[str, Any]:
    judge = stage.judge(setting, HEAD)
    arrays = judge.model.arrays()
    # Where a vector lies on the map is linear in it.
    width = judge.model.width
    origin = judge.onto_map(np.zeros((1, width)))[0]
    return {
        "coefficients": _rounded(arrays["coefficients"], 12),
        "reference": judge.model.reference.tolist(),
        "origin": _rounded(origin, 6),
        "axes": _rounded((judge.onto_map(np.eye(width)) - origin).T, 6),
        "usual": {rule: _rounded(judge.usual(rule), 7) for rule in RULES},
        "detectors": {name: _calibration(judge, name) for name in DETECTORS if name in judge.fitted},
        "paths": {rule: _path(stage, setting, rule, texts) for rule in RULES},
    }


def _calibration(judge: Judge, name: str) -> dict[str, Any]:
    """Return a detector of one number z: its score is |z − mean| / scale, or z where there is no scale."""
    fitted = judge.fitted[name]
    assert isinstance(fitted, FittedCalibrated)
    assert fitted.calibration is not None
    told: dict[str, Any] = {"scores": fitted.calibration.scores.tolist(), "alpha": fitted.recipe.alpha}
    if name == "latent distance":
        near, far = fitted.check([[1e3], [2e3]]).scores.tolist()
        scale = 1e3 / (far - near)
        told |= {"mean": 1e3 - near * scale, "scale": scale}
    return told


def _path(stage: WorldStage, setting: FitSetting, rule: str, texts: dict[str, int]) -> dict[str, Any]:
    view = stage.path(setting, Seat(HEAD, rule))
    prompts = [prompt["text"] for prompt in stage.state()["prompts"][:PROMPTS]]
    points = []
    for eta in view.path.inverse_beta.tolist():
        point = view.point(eta, prompts[0])
        written = [view.samples(eta, prompt) for prompt in prompts]
        samples = [
            [[texts.setdefault(s["text"], len(texts)), s["proxy"], s["gold"]] for s in three] for three in written
        ]
        points.append({**point, "samples": samples, "cloud": _rounded(np.array(point["cloud"]), 3)})
    return {"curves": {**view.curves(), "cloud": _rounded(np.array(view.cloud()), 3)}, "points": points}


def _rounded(x: Array, digits: int) -> Any:
    return np.round(np.asarray(x, dtype=np.float64), digits).tolist()


def _page(data: str) -> str:
    page, style, script = page_part("index.html"), page_part("style.css"), page_script("local.js")
    policy = POLICY.format(script=_digest(script), style=_digest(style))
    for old, new in (
        (
            '<meta charset="utf-8">',
            f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">',
        ),
        ('<link rel="stylesheet" href="style.css">', f"<style>{style}</style>"),
        (
            '<script src="app.js"></script>',
            f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script>',
        ),
    ):
        assert page.count(old) == 1
        page = page.replace(old, new)
    return page


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
