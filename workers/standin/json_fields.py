"""Dataclasses whose fields can be set from JSON, checked by their annotations."""

import dataclasses
import types
import typing
from typing import Any, Literal


class BadSetting(ValueError):
    """A field is unknown or its value is not allowed. The text names it."""


@dataclasses.dataclass(slots=True)
class JsonFields:
    """Base of a dataclass whose fields can be set from JSON."""

    def change(self, values: dict[str, Any]) -> None:
        """
        Set all of `values`, or none of them.

        :raises BadSetting: a value is unknown, of the wrong type, negative, or a scale of zero.
        """
        types_ = typing.get_type_hints(type(self))
        checked = {name: _checked(name, value, types_) for name, value in values.items()}
        for name, value in checked.items():
            setattr(self, name, value)


def _checked(name: str, value: Any, types_: dict[str, Any]) -> Any:
    if name not in types_:
        raise BadSetting(f"{name}: there is no such setting")
    allowed = types_[name]
    options = typing.get_args(allowed) if isinstance(allowed, types.UnionType) else (allowed,)
    if not any(_fits(value, option) for option in options):
        raise BadSetting(f"{name}={value!r}, must be {' or '.join(map(_words, options))}")
    if isinstance(value, int | float) and value < 0:
        raise BadSetting(f"{name}={value!r}, must not be below zero")
    if value == 0 and name == "time_scale":
        raise BadSetting(f"{name}={value!r}, must be above zero")
    return tuple(value) if isinstance(value, list) else value


def _fits(value: Any, wanted: Any) -> bool:
    if typing.get_origin(wanted) is Literal:
        return value in typing.get_args(wanted)
    if typing.get_origin(wanted) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or wanted is bool:
        return isinstance(value, bool) and wanted is bool
    if wanted is float:
        return isinstance(value, int | float)
    return isinstance(value, wanted)


def _words(wanted: Any) -> str:
    if typing.get_origin(wanted) is Literal:
        return " or ".join(typing.get_args(wanted))
    if typing.get_origin(wanted) is tuple:
        return "a list of texts"
    return {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a text",
        types.NoneType: "null",
    }[wanted]
