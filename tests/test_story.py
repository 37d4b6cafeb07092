"""Over five seeds the report tells of the fall where labels or texts mislead, and of none where annotators are fair."""

from __future__ import annotations

from pathlib import Path

import pytest

from embrm.report.study.settings import settings, within
from embrm.report.study.story import FALLS, RISES, stories
from embrm.study.config import load_config
from embrm.study.runner.run import run

STUDY = """
extends: laptop
seeds: [0, 1, 2, 3, 4]
mechanisms: {narrow: null}
datasets: [{name: world, kind: world, embedder: minilm}]
heads: [{name: mlp}]
rules: [{name: mean}]
tuning: {budget: 1}
detection: {heads: []}
"""


@pytest.mark.slow
def test_the_titles_tell_the_fall_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "story.yaml").write_text(STUDY, encoding="utf-8")
    results = run(load_config(str(tmp_path / "story.yaml"), ()), tmp_path / "run", workers=1)
    told = {
        setting.mechanism: story
        for setting in settings(results)
        for story in stories(results, within(results, setting), setting, [])
    }
    assert {mechanism: story.title for mechanism, story in told.items()} == {
        "fair": RISES,
        "biased": FALLS,
        "confounded": FALLS,
    }
    assert {story.tiles[0].answer for story in told.values()} == {"no", "yes"}
    assert all("5 seeds" in story.setting for story in told.values())
