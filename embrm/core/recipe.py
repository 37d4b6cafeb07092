"""Recipes: frozen dataclasses that are made from a name and options, and turned into JSON and back, in one way.

The JSON of a recipe is `{"name": NAME, "options": {...}}`, wherever it stands; a bare name is short for the default
options. An option that is a recipe itself has that form too, and `"base.hidden"` names an option of the option `base`.
"""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from embrm.core.names import suggestion
from embrm.core.option_numbers import check_numbers
from embrm.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import CoreSchema, ErrorDetails

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Family(Protocol[T_co]):
    """Where recipes are found by name: a `Registry`, or the `Variants` of an option."""

    kind: str

    def names(self) -> Sequence[str]:
        """Return all names."""

    def get(self, name: str) -> Callable[..., T_co]:
        """Return the class of that name, or raise UnknownNameError."""

    def name_of(self, member: object) -> str:
        """Return the name of a recipe's class."""


def make(family: Family[T], name: str, options: Mapping[str, Any] | None = None) -> T:
    """Return the recipe of that name, its options checked against the types of its fields.

    Args:
        family: where it is found.
        name: its name.
        options: by name; `"outer.inner"` is an option of the option `outer`: of the recipe that stands under "outer",
            or where nothing stands there of the default.

    Raises:
        UnknownNameError: there is no such recipe.
        OptionError: see `build`.
    """
    made: T = build(family.get(name), options or {}, what=f"{family.kind} '{name}'")
    return made


def build(cls: Callable[..., T], options: Mapping[str, Any], *, what: str) -> T:
    """Return an instance of a dataclass with checked options, in the names that `make` describes.

    Args:
        cls: the dataclass.
        options: of its fields.
        what: what a message calls it.

    Raises:
        OptionError: there is no such option (the nearest is suggested), or a value is not what it can be, such as a
            number that is infinite.
    """
    from pydantic import ValidationError

    values = _gathered(cls, options, what)
    for name, value in values.items():
        check_numbers(value, f"{what}: {name}")
    try:
        made: T = _adapter(cls).validate_python(values)
    except ValidationError as error:
        raise OptionError(f"{what}: {_explained(error)}") from error
    return made


def changed(recipe: T, options: Mapping[str, Any]) -> T:
    """Return a recipe with other options, in the names that `make` describes.

    Raises:
        OptionError: see `build`.
    """
    own = {field.name: getattr(recipe, field.name) for field in _fields(recipe)}
    plain = {name: value for name, value in options.items() if "." not in name}
    dotted = {name: value for name, value in options.items() if "." in name}
    return build(type(recipe), own | plain | dotted, what=type(recipe).__name__)


def options_of(recipe: object) -> dict[str, Any]:
    """Return the fields of a recipe as JSON-ready values."""
    return {field.name: as_json(getattr(recipe, field.name)) for field in _fields(recipe)}


def config_of(family: Family[Any], recipe: object) -> dict[str, Any]:
    """Return a recipe as JSON-ready values, which `recipe_of` reads."""
    return {"name": family.name_of(recipe), "options": options_of(recipe)}


def recipe_of(family: Family[T], value: str | Mapping[str, Any]) -> T:
    """Return the recipe that a name or `{"name": NAME, "options": {...}}` describes.

    Raises:
        OptionError: it is neither; or see `build`.
        UnknownNameError: there is no such recipe.
    """
    if isinstance(value, str):
        return make(family, value)
    known = isinstance(value, Mapping) and isinstance(value.get("name"), str) and set(value) <= {"name", "options"}
    options = value.get("options", {}) if known else None
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        said = reprlib.repr(value)
        raise OptionError(f"a {family.kind} is a name or {{'name': NAME, 'options': {{...}}}}, got {said}")
    return make(family, value["name"], options)


def as_json(value: Any) -> Any:
    """Return an option's value as JSON has it: a nested recipe as its config, a tuple as a list."""
    if callable(getattr(value, "config", None)):
        return value.config()
    if isinstance(value, tuple | list):
        return [as_json(part) for part in value]
    return value


class Recipe:
    """Base of recipes that stand in a family: `config` turns one into JSON, and `of` makes it again.

    The class that sets `family`, such as `Head`, stands for all of its family where a dataclass has it as the type of a
    field: the field takes what `of` takes.
    """

    family: ClassVar[Family[Any]]

    def options(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; a recipe among them is `{"name": NAME, "options": {...}}`."""
        return options_of(self)

    def config(self) -> dict[str, Any]:
        """Return the recipe as JSON-ready values; `of` reads them."""
        return config_of(self.family, self)

    @classmethod
    def of(cls, value: Self | str | Mapping[str, Any]) -> Self:
        """Return the recipe that a name or `{"name": NAME, "options": {...}}` describes, or the recipe itself.

        Raises:
            OptionError: it is neither, an option cannot be, or the recipe is none of this class.
            UnknownNameError: no recipe has that name.
        """
        made = value if isinstance(value, cls) else recipe_of(cls.family, value)  # type: ignore[arg-type]
        if not isinstance(made, cls):
            raise OptionError(f"the {cls.family.kind} '{cls.family.name_of(made)}' is no {cls.__name__}")
        return made

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Let a field of this type take what `of` takes; the recipes themselves are plain dataclasses."""
        from pydantic_core import core_schema

        if "family" in vars(cls):
            return core_schema.no_info_plain_validator_function(cls.of)
        schema: CoreSchema = handler(source)
        return schema


class Variants(Generic[T]):
    """A family whose members stand in one module: the forms that an option can take.

    Args:
        kind: what a member is called in messages ("loss").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def offer(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that offers the class under a name."""

        def offered(cls: type[T]) -> type[T]:
            self._classes[name] = cls
            return cls

        return offered

    def names(self) -> list[str]:
        """Return all names, in the order in which they were offered."""
        return list(self._classes)

    def get(self, name: str) -> type[T]:
        """Return the class of that name.

        Raises:
            UnknownNameError: there is none; the message suggests the nearest.
        """
        if name not in self._classes:
            raise UnknownNameError(f"no {self.kind} named '{name}'. {suggestion(name, self._classes)}")
        return self._classes[name]

    def name_of(self, member: object) -> str:
        """Return the name of a member's class."""
        return next(name for name, cls in self._classes.items() if cls is type(member))


def _fields(recipe: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(recipe) if field.init]


@lru_cache(maxsize=256)
def _adapter(cls: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(cls)
    except PydanticUserError as error:
        raise OptionError(
            f"the fields of {cls.__qualname__} cannot be checked ({str(error).partition(chr(10))[0]}); give them types "
            "that JSON has, or that are recipes"
        ) from error


def _gathered(cls: Any, options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the options by field, those with dotted names inside the recipe that they belong to."""
    fields = {field.name: field for field in _fields(cls)}
    values: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        outer, dot, rest = name.partition(".")
        if outer not in fields:
            raise OptionError(f"{what} has no option '{outer}'. {suggestion(outer, sorted(fields))}")
        if dot:
            inner.setdefault(outer, {})[rest] = value
        else:
            values[outer] = value
    for outer, more in inner.items():
        value = values[outer] if outer in values else _default(fields[outer])
        values[outer] = _within(value, more, f"{what}: {outer}")
    return values


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _within(value: Any, options: Mapping[str, Any], where: str) -> Any:
    """Return a nested recipe, or what describes one, with further options."""
    if isinstance(value, str):
        return {"name": value, "options": options}
    if isinstance(value, Mapping) and "name" in value and isinstance(value.get("options", {}), Mapping):
        return {**value, "options": {**value.get("options", {}), **options}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return changed(value, options)
    name = next(iter(options))
    raise OptionError(f"{where} is {reprlib.repr(value)}, which has no option '{name}'; give the recipe's name first")


def _explained(error: ValidationError) -> str:
    """Return where the first fault is, what was expected there, and what came."""
    first: ErrorDetails = error.errors()[0]
    where = ".".join(str(part) for i, part in enumerate(first["loc"]) if i == 0 or isinstance(part, int))
    own = first.get("ctx", {}).get("error")
    cause = str(own) if own is not None else f"{first['msg']}, got {reprlib.repr(first['input'])}"
    if first["type"] == "missing":
        cause = "is needed, and was not given"
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        known = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        hint = suggestion(first["input"], known)
        cause += f". {hint}" if hint.startswith("Did") else ""
    return f"{where}: {cause}" if where else cause
