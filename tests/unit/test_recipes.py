"""Recipes from a name and options, and back: types, names with dots, and what a fault's message says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest

from embrm import detectors, heads, selectors
from embrm.core.provenance import Provenance
from embrm.core.recipe import Recipe, Variants, as_json, build, changed, config_of, make, recipe_of
from embrm.core.settings import read_settings, split_settings, write_settings
from embrm.embedders import Embedder, get, provenance_of
from embrm.errors import OptionError, UnknownNameError
from embrm.evaluation.scorer import own_embedder
from embrm.heads import Head


class Cake(Recipe):
    """A family of recipes for the tests, whose icing is a recipe too."""

    family: ClassVar[Any] = Variants("cake")


class Icing(Recipe):
    family: ClassVar[Any] = Variants("icing")


@Icing.family.offer("sugar")
@dataclass(frozen=True)
class Sugar(Icing):
    grams: int = 100


@Icing.family.offer("lemon")
@dataclass(frozen=True)
class Lemon(Icing):
    grams: int = 50
    zest: float = 0.5


@Cake.family.offer("layered")
@dataclass(frozen=True)
class Layered(Cake):
    layers: int = 2
    tins: tuple[int, ...] = (20, 18)
    shape: Literal["round", "square"] = "round"
    icing: Icing = field(default_factory=Sugar)
    filling: Icing | None = None

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise OptionError(f"layers must be >= 1, got {self.layers}")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Layered()),
        ({"tins": [1, 2], "shape": "square"}, Layered(tins=(1, 2), shape="square")),
        ({"icing": "lemon"}, Layered(icing=Lemon())),
        ({"icing": Lemon(3)}, Layered(icing=Lemon(3))),
        ({"icing": {"name": "lemon", "options": {"zest": 1}}}, Layered(icing=Lemon(zest=1.0))),
        ({"icing": "lemon", "icing.zest": 0.1}, Layered(icing=Lemon(zest=0.1))),
        ({"icing.grams": 7}, Layered(icing=Sugar(7))),
        ({"icing": {"name": "lemon", "options": {"grams": 1}}, "icing.zest": 2}, Layered(icing=Lemon(1, 2.0))),
        ({"icing": Lemon(3), "icing.zest": 0.0}, Layered(icing=Lemon(3, 0.0))),
        ({"filling": "sugar", "filling.grams": 1}, Layered(filling=Sugar(1))),
    ],
)
def test_a_recipe_is_made_and_written_as_json(options: dict[str, Any], expected: Layered) -> None:
    made = make(Cake.family, "layered", options)
    assert made == expected
    config = made.config()
    assert json.loads(json.dumps(config)) == config  # tuples are lists there already
    assert Cake.of(config) == made
    typed = read_settings(write_settings(config["options"]))
    assert make(Cake.family, "layered", typed) == made


def test_the_form_of_a_config() -> None:
    assert Layered(icing=Lemon(1)).config() == {
        "name": "layered",
        "options": {
            "layers": 2,
            "tins": [20, 18],
            "shape": "round",
            "icing": {"name": "lemon", "options": {"grams": 1, "zest": 0.5}},
            "filling": None,
        },
    }
    assert as_json((Sugar(1), [2.0, "x"])) == [{"name": "sugar", "options": {"grams": 1}}, [2.0, "x"]]


def test_only_what_is_named_is_changed() -> None:
    cake = Layered(layers=3, icing=Lemon(9))
    assert changed(cake, {"icing.zest": 1.0, "tins": [5]}) == Layered(3, (5,), icing=Lemon(9, 1.0))
    assert changed(cake, {"icing": "sugar", "icing.grams": 2}) == Layered(3, icing=Sugar(2))
    assert changed(cake, {}) == cake


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1}, r"^cake 'layered' has no option 'layer'. Did you mean 'layers'\?$"),
        ({"zzz": 1}, r"has no option 'zzz'. There are: filling, icing, layers, shape, tins\."),
        ({"layers": "two"}, r"^cake 'layered': layers: Input should be a valid integer.*, got 'two'$"),
        ({"layers": 0}, r"^cake 'layered': layers must be >= 1, got 0$"),
        ({"tins": [1, "x"]}, r"cake 'layered': tins\.1: .*valid integer.*, got 'x'$"),
        ({"shape": "rond"}, r"shape: Input should be 'round' or 'square', got 'rond'. Did you mean 'round'\?$"),
        ({"icing.gram": 1}, r"Sugar has no option 'gram'. Did you mean 'grams'\?"),
        ({"icing": "sugar", "icing.gram": 1}, r"icing: icing 'sugar' has no option 'gram'. Did you mean 'grams'\?"),
        ({"icing": 3}, r"icing: a icing is a name or \{'name': NAME, 'options': \{...\}\}, got 3$"),
        ({"icing": {"name": "lemon", "zest": 1}}, "icing: a icing is a name or"),
        ({"icing": {"name": "lemon", "options": [1]}}, "icing: a icing is a name or"),
        ({"filling.grams": 1}, "cake 'layered': filling is None, which has no option 'grams'; give the recipe's name"),
        ({"layers.x": 1}, "cake 'layered': layers is 2, which has no option 'x'"),
    ],
)
def test_a_fault_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make(Cake.family, "layered", options)


def test_names_that_are_not_there() -> None:
    with pytest.raises(UnknownNameError, match=r"no icing named 'lemmon'. Did you mean 'lemon'\?"):
        make(Cake.family, "layered", {"icing": "lemmon"})
    with pytest.raises(OptionError, match="the icing 'lemon' is no Sugar"):
        Sugar.of("lemon")
    assert Icing.family.names() == ["sugar", "lemon"]


@dataclass(frozen=True)
class Opaque:
    thing: complex.__class__  # type: ignore[valid-type]
    other: object.__reduce__  # type: ignore[valid-type]


@dataclass(frozen=True)
class Needy:
    size: int


def test_a_class_whose_fields_cannot_be_checked_or_are_needed() -> None:
    with pytest.raises(OptionError, match="the fields of Opaque cannot be checked"):
        build(Opaque, {}, what="it")
    with pytest.raises(OptionError, match=r"^it: size: is needed, and was not given$"):
        build(Needy, {}, what="it")


@pytest.mark.parametrize("family", [selectors.registry, detectors.registry], ids=lambda family: family.kind)
def test_selectors_and_detectors_have_the_same_form(family: Any) -> None:
    for name in family.names():
        recipe = make(family, name)
        config = json.loads(json.dumps(config_of(family, recipe)))
        assert config["name"] == name
        assert recipe_of(family, config) == recipe_of(family, name) == recipe


@pytest.mark.parametrize("name", heads.names())
def test_the_config_of_a_head_makes_it_again(name: str) -> None:
    recipe = Head.of(name)
    assert Head.of(json.loads(json.dumps(recipe.config()))) == recipe
    assert make(heads.registry, name, read_settings(write_settings(recipe.options()))) == recipe


def test_dotted_names_reach_into_a_wrapped_head() -> None:
    made = make(heads.registry, "ensemble", {"base.hidden": [32], "members": 3})
    assert made == heads.get("ensemble")(base=heads.get("mlp")(hidden=(32,)), members=3)
    typed = read_settings(["base=ensemble", "base.base=linear", "base.base.members=2", "base.members=2"])
    assert make(heads.registry, "ensemble", typed).config()["options"]["base"] == {
        "name": "ensemble",
        "options": heads.get("ensemble")(base=heads.get("linear")(members=2), members=2).options(),
    }


def test_settings_are_yaml() -> None:
    typed = ["a=1", "b=[1, x]", "c=null", "d=1.0e-05", "e=word", "f=a=b", "a=2"]
    assert read_settings(typed) == {"a": 2, "b": [1, "x"], "c": None, "d": 1e-5, "e": "word", "f": "a=b"}
    values = {"a": 1e-5, "b": "null", "c": [], "d": True, "e": 1e20, "f": "é: x", "g": {"h": 1}, "i": ""}
    assert read_settings(write_settings(values)) == values
    assert write_settings({"base": {"name": "mlp", "options": {"hidden": [32]}}}) == ["base=mlp", "base.hidden=[32]"]
    assert split_settings("a=1,b=[2, 3],c={d: [4, 5], e: 6},f=7") == ["a=1", "b=[2, 3]", "c={d: [4, 5], e: 6}", "f=7"]
    assert split_settings("") == []


@pytest.mark.parametrize(("typed", "message"), [("a", "'a' is not NAME=VALUE"), ("=1", "write for example x=1")])
def test_settings_without_a_name_or_a_value_are_refused(typed: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_settings([typed], example="x=1")


def test_settings_that_are_no_yaml_are_refused() -> None:
    with pytest.raises(OptionError, match=r"the value of 'a=\[1' is not YAML"):
        read_settings(["a=[1"])


def test_provenance_is_plain_data_and_back() -> None:
    hashing = get("hashing")(dimension=8)
    whole = Provenance(hashing.identity, hashing.config())
    assert Provenance.of(json.loads(json.dumps(whole.as_json()))) == whole
    assert Provenance.of("x") == Provenance("x")
    assert Embedder.of(whole.recipe or "") == hashing
    assert whole.agrees(Provenance())
    assert not whole.agrees(Provenance("x"))


def test_an_embedder_that_is_in_no_registry_is_known_by_its_identity_alone() -> None:
    class Own:
        identity = "my vectors"

    assert provenance_of(Own()) == Provenance("my vectors")  # type: ignore[arg-type]


def test_saved_scores_know_of_no_embedder() -> None:
    with pytest.raises(OptionError, match="saved scores know of no embedder"):
        own_embedder(None)
