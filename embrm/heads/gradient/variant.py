"""Options that come in kinds, each kind with numbers of its own: losses, diversities, weightings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_type_hints

from embrm.errors import OptionError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Variant:
    """One kind of an option, with the numbers that only this kind has.

    A family derives from this and its kinds from the family. Where an option of the family is asked for, the name of a
    kind stands for its defaults, and `{"name": name, "options": {...}}`, as `config` gives it, for any kind.

    Attributes:
        option: what the family is called in messages.
        name: of the kind; a class without one of its own is no kind.
    """

    option: ClassVar[str]
    name: ClassVar[str]

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Return the kinds of the family by name, those of others too."""
        return {kind.name: kind for kind in cls._derived() if "name" in vars(kind)}

    @classmethod
    def _derived(cls) -> Iterator[type[Self]]:
        yield cls
        for kind in cls.__subclasses__():
            yield from kind._derived()

    def config(self) -> dict[str, Any]:
        """Return the kind and its numbers as JSON-ready values; `of` reads them."""
        return {"name": self.name, "options": dataclasses.asdict(self)}

    @classmethod
    def of(cls, value: object) -> Self:
        """Return what `value` is, names or describes.

        Raises:
            OptionError: it is no kind of the family, or the kind has no such options.
        """
        if isinstance(value, cls):
            return value
        described = value if isinstance(value, Mapping) else {"name": value}
        name, options = described.get("name"), described.get("options", {})
        kinds = cls.kinds()
        if name not in kinds or set(described) - {"name", "options"} or not isinstance(options, Mapping):
            raise OptionError(
                f"{cls.option} must be one of {', '.join(kinds)}, or {{'name': one of them, 'options': {{...}}}}, "
                f"got {value!r}"
            )
        return kinds[name](**kinds[name]._checked(options))

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options of the right types, such as a number for one that was typed."""
        from pydantic import TypeAdapter, ValidationError

        hints = get_type_hints(cls)
        types = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
        out = {}
        for name, value in options.items():
            if name not in types:
                raise OptionError(
                    f"{cls.option} '{cls.name}' has no option '{name}'; it has {', '.join(types) or 'none'}"
                )
            try:
                out[name] = TypeAdapter(types[name]).validate_python(value)
            except ValidationError as error:
                raise OptionError(f"{cls.option} '{cls.name}': {name}: {error.errors()[0]['msg']}") from None
        return out

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Let recipes and configurations give what `of` reads."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(cls.of)
