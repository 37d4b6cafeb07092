from pathlib import Path

import pytest

from embrm.errors import DataError
from embrm.world import World

SMALL = """\
reference:
  empty: "Nothing more."
  counts:
    correct: [0.5, 0.3, 0.2]
    wrong: [0.9, 0.1]
    praise: [0.75, 0.25]
gold:
  correct: {first: 1, beyond: 1}
  wrong: {first: -1, beyond: -1}
  praise: {first: 0.5, beyond: -1}
annotators:
  praise: {first: 1, beyond: 0}
styles:
  praise:
    - "Well asked."
confounded: {quality: [correct, wrong], style: [praise]}
topics:
  - id: tea
    class: kitchen
    questions: ["How is tea made?"]
    correct:
      - "Boil water."
      - "Warm the pot."
    wrong:
      - "Add glue."
"""


def load(tmp_path: Path, text: str) -> World:
    path = tmp_path / "world.yaml"
    path.write_text(text, encoding="utf-8")
    return World.load(path)


def test_small_world_loads(tmp_path: Path) -> None:
    world = load(tmp_path, SMALL)
    assert world.attributes == ("correct", "wrong", "praise")
    assert world.topics == ("tea",)


FAULTS = {
    "no wrong statements": (
        '    wrong:\n      - "Add glue."\n',
        "    wrong: []\n",
        r"line 24, .*at least 1 entries, got 0",
    ),
    "wrong is absent": ('    wrong:\n      - "Add glue."\n', "", r"line 18, topics\.0\.wrong: .*absent; add it"),
    "duplicate statement": ('"Add glue."', '"Boil water."', r"line 2\d, .*'Boil water\.' appears twice; word"),
    "prefix": ('"Add glue."', '"Boil water. Twice."', r"line 25, .*begins with another fragment.*; word"),
    "gold lacks an attribute": ("  praise: {first: 0.5, beyond: -1}\n", "", r"line 7, gold: .*'praise'; add it"),
    "gold names another": (
        "  wrong: {first: -1",
        "  worng: {first: -1",
        r"line 9, gold\.worng: no attribute .*'worng'",
    ),
    "annotators name another": (
        "  praise: {first: 1,",
        "  prase: {first: 1,",
        r"line 12, annotators\.prase: no attribute",
    ),
    "confounded names another": ("style: [praise]", "style: [prase]", r"line 16, confounded\.style\b.*: no attribute"),
    "probabilities": ("[0.5, 0.3, 0.2]", "[0.5, 0.3, 0.3]", r"line 4, .*must sum to 1, got 1\.1; rescale"),
    "zero probability": ("[0.9, 0.1]", "[1, 0]", r"line 5, .*a probability is 0.*; shorten"),
    "negative probability": ("[0.9, 0.1]", "[1.1, -0.1]", r"line 5, .*less than or equal to 1.*correct the value"),
    "attribute without style": ("  praise:\n    - ", "  prize:\n    - ", r"line 6, .*not in styles; add it"),
    "too few fragments": (
        "praise: [0.75, 0.25]",
        "praise: [0.5, 0.3, 0.2]",
        r"line 14, .*may use 2 .* got 1; add some",
    ),
    "misspelt key": ("    class:", "    clas:", r"line 19, .*clas: no such key exists; remove it or correct"),
    "blank at the end": ('"Boil water."', '"Boil water. "', r"line 22, .*blanks at an end"),
    "line break": ('"Boil water."', '"Boil\\nwater."', r"line 22, .*a line break"),
    "not YAML": ("gold:", "gold: [", r"not valid YAML: .*line 7; quote texts"),
    "empty file": (SMALL, "", r"line 1, file: .*correct the value"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_names_the_line_and_the_fix(tmp_path: Path, name: str) -> None:
    old, new, match = FAULTS[name]
    assert SMALL.count(old) == 1
    with pytest.raises(DataError, match=f"(?s){match}"):
        load(tmp_path, SMALL.replace(old, new))


def test_repeated_topic_is_named(tmp_path: Path) -> None:
    topic = SMALL[SMALL.index("  - id: tea") :]
    with pytest.raises(DataError, match=r"line 26, topics\.1\.id: the topic 'tea' was defined before; rename"):
        load(tmp_path, SMALL + topic.replace("water", "milk").replace("pot", "cup").replace("glue", "ink"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: No such file"):
        World.load(tmp_path / "none.yaml")
