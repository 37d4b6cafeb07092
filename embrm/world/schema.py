"""`world.yaml` as checked values: an error names the line, what was expected, and the fix."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embrm.core.bounds import DOCUMENT
from embrm.core.documents import read_bytes
from embrm.core.yaml_files import read_yaml
from embrm.errors import DataError

Text = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Place = tuple[int | str, ...]
SHOWN = 50  # faults of a file that its error lists


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Effect(_Strict):
    """What an attribute is worth: `first` for its first use, `beyond` for each use after that."""

    first: float
    beyond: float


class Topic(_Strict):
    """A question in several wordings, with statements that answer it rightly and wrongly."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    group: Annotated[Text, Field(alias="class")]
    questions: Annotated[tuple[Text, ...], Field(min_length=1)]
    correct: Annotated[tuple[Text, ...], Field(min_length=1)]
    wrong: Annotated[tuple[Text, ...], Field(min_length=1)]


class Reference(_Strict):
    """The reference policy: for each attribute the probability of 0, 1, 2, … uses, and the text of no uses at all."""

    empty: Text
    counts: dict[str, Annotated[tuple[Probability, ...], Field(min_length=2)]]


class Confounded(_Strict):
    """What `Mechanism.confounding` ties together: attributes of quality, by their gold, and of style, by their uses."""

    quality: Annotated[tuple[str, ...], Field(min_length=1)]
    style: Annotated[tuple[str, ...], Field(min_length=1)]


class WorldSpec(_Strict):
    """All of `world.yaml`. The attributes, in order, are the keys of `reference.counts`.

    `unknown` is the gold of a sentence that the world does not know; see `embrm.world.judge`.
    """

    reference: Reference
    gold: dict[str, Effect]
    unknown: Annotated[float, Field(le=0)] = -1.0
    annotators: dict[str, Effect]
    confounded: Confounded
    styles: dict[str, tuple[Text, ...]]
    topics: Annotated[tuple[Topic, ...], Field(min_length=1)]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of what is counted in a response."""
        return tuple(self.reference.counts)


def load_spec(path: Path) -> WorldSpec:
    """Read and check a world file.

    Raises:
        DataError: the file cannot be read, is not YAML, or breaks the schema; every fault is listed with its line.
    """
    try:
        text = read_bytes(path, most=DOCUMENT).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid YAML: it is no UTF-8 at byte {error.start}; save it as UTF-8") from None
    data = read_yaml(text, name=str(path))
    node = yaml.compose(text, Loader=yaml.CSafeLoader)  # the places of its values
    try:
        spec = WorldSpec.model_validate(data)
    except ValidationError as error:
        faults = [(fault["loc"], _explain(fault)) for fault in error.errors()]
    else:
        faults = list(_faults(spec))
    if faults:
        lines = [
            f"  line {_line(node, place)}, {'.'.join(map(str, place)) or 'file'}: {why}"
            for place, why in faults[:SHOWN]
        ]
        if len(faults) > SHOWN:
            lines.append(f"  and {len(faults) - SHOWN} more")
        raise DataError(f"{path.name} has {len(faults)} fault{'s' * (len(faults) > 1)}:\n" + "\n".join(lines))
    return spec


def _explain(fault: Any) -> str:
    fixes = {
        "missing": "this key is required but absent; add it",
        "extra_forbidden": "no such key exists; remove it or correct its spelling",
        "too_short": f"expected at least {fault.get('ctx', {}).get('min_length')} entries, "
        f"got {fault.get('ctx', {}).get('actual_length')}; add some",
        "string_pattern_mismatch": f"{reprlib.repr(fault['input'])} has blanks at an end, a line break or a character "
        "that is not allowed here; correct it",
    }
    return fixes.get(fault["type"], f"{fault['msg']}, got {reprlib.repr(fault['input'])}; correct the value")


def _faults(spec: WorldSpec) -> Iterator[tuple[Place, str]]:
    """Yield what no single field can know."""
    names = set(spec.attributes)
    expected = {"correct", "wrong", *spec.styles}
    for name in sorted(names ^ expected):
        side = "styles" if name in names else "reference.counts"
        yield ("reference", "counts", name), f"attribute '{name}' is not in {side}; add it there or remove it here"
    named = [((table, name), name) for table in ("gold", "annotators") for name in getattr(spec, table)]
    for side in ("quality", "style"):
        named += [(("confounded", side), name) for name in getattr(spec.confounded, side)]
    for place, name in named:
        if name not in names:
            yield place, f"no attribute is called '{name}'; there are {', '.join(spec.attributes)}"
    for name in sorted(names - set(spec.gold)):
        yield ("gold",), f"the gold does not know the attribute '{name}'; add it, with zeros if it is worth nothing"
    for name, chances in spec.reference.counts.items():
        if abs(sum(chances) - 1) > 1e-6:
            yield ("reference", "counts", name), f"probabilities must sum to 1, got {sum(chances):.6g}; rescale them"
        elif min(chances) == 0:
            yield ("reference", "counts", name), "a probability is 0, and the KL to it infinite; shorten the list"
    seen_ids: set[str] = set()
    for i, topic in enumerate(spec.topics):
        if topic.id in seen_ids:
            yield ("topics", i, "id"), f"the topic '{topic.id}' was defined before; rename or merge it"
        seen_ids.add(topic.id)
    yield from _too_few(spec)
    yield from _ambiguous(spec)


def _too_few(spec: WorldSpec) -> Iterator[tuple[Place, str]]:
    """Yield the lists that are shorter than the largest count, as a response never repeats a fragment."""
    most = {name: len(chances) - 1 for name, chances in spec.reference.counts.items()}
    lists: list[tuple[Place, tuple[str, ...], str]] = [
        (("styles", name), texts, name) for name, texts in spec.styles.items()
    ]
    for i, topic in enumerate(spec.topics):
        lists += [(("topics", i, "correct"), topic.correct, "correct"), (("topics", i, "wrong"), topic.wrong, "wrong")]
    for place, texts, name in lists:
        if len(texts) < most.get(name, 0):
            yield place, f"a response may use {most[name]} of these, got {len(texts)}; add some or lower the bound"


def fragments(spec: WorldSpec) -> Iterator[tuple[Place, str, str]]:
    """Yield `(place, attribute, text)` of every fragment; the attribute of the empty response is `""`."""
    yield ("reference", "empty"), "", spec.reference.empty
    for name, texts in spec.styles.items():
        for i, text in enumerate(texts):
            yield ("styles", name, i), name, text
    for t, topic in enumerate(spec.topics):
        for name in ("correct", "wrong"):
            for i, text in enumerate(getattr(topic, name)):
                yield ("topics", t, name, i), name, text


def _ambiguous(spec: WorldSpec) -> Iterator[tuple[Place, str]]:
    """Yield repeated fragments and those that begin another: without them a text is read back in one way only."""
    ordered = sorted(fragments(spec), key=lambda item: item[2] + " ")
    for (_, _, first), (place, _, second) in pairwise(ordered):
        if first == second:
            yield place, f"the text {second!r} appears twice; word one of them differently"
        elif second.startswith(first + " "):
            yield place, f"the text {second!r} begins with another fragment, {first!r}; word one of them differently"


def _line(node: yaml.Node | None, place: Place) -> int:
    """Return the line of a place, or of its nearest ancestor where the key is absent."""
    line = int(node.start_mark.line) if node is not None else 0
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line
        else:
            break
    return line + 1
