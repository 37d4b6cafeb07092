"""YAML within bounds: what is nested, repeated by aliases or broken is refused at once, by file and line."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from embrm.core.yaml_files import CHARACTERS, read_yaml
from embrm.errors import DataError

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: " + "[" * 100_000, "f.yaml, line 1: the YAML is nested more than 50 deep"),
        ("a: " + "{b: " * 100_000, "nested more than 50 deep"),
        (LAUGHS, "line 7: the YAML stands for more than 1000000 values, aliases written out"),
        ("a: &a [*a]", r"has an alias \*a of what is not complete before it"),
        ("a: [1,\n", "f.yaml is not valid YAML: did not find expected node content at line 2, column 1"),
        ("x: !!python/object:os.system ls", "could not determine a constructor"),
        ("? [a]: b", "found unhashable key"),
        ("x" * (CHARACTERS + 1), "f.yaml has 10000001 characters"),
    ],
)
def test_what_is_out_of_bounds_is_refused_at_once(text: str, told: str) -> None:
    start = time.monotonic()
    with pytest.raises(DataError, match=told) as refused:
        read_yaml(text, name="f.yaml")
    assert time.monotonic() - start < 2
    assert len(str(refused.value)) < 500


def test_aliases_within_the_bounds_are_read() -> None:
    assert read_yaml("a: &a {x: 1}\nb: *a\nc: [*a, *a]", name="f") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": [{"x": 1}] * 2,
    }


texts = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]))  # PyYAML itself loses some control characters
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read(value: object) -> None:
    assert read_yaml(yaml.safe_dump(value, allow_unicode=True), name="f") == value


@given(st.text(alphabet="[]{}:,&*!|>-? \n\t\"'#ab1\\\x00é", max_size=60))
def test_any_text_is_a_value_or_a_data_error(text: str) -> None:
    with contextlib.suppress(DataError):
        read_yaml(text, name="f.yaml")
