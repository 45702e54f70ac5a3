"""A knob, and a table of knobs that checks its values. Standard library only.

A table is a frozen dataclass derived from :class:`Table`; :func:`knob` makes its fields.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from copycat.errors import CopycatError

Kind = Literal["bool", "int", "float", "choice", "string", "file", "directory", "sequence", "button", "info", "table"]
Surface = Literal["cli", "ofx", "page"]

EVERYWHERE: frozenset[Surface] = frozenset({"cli", "ofx", "page"})
HOSTED: frozenset[Surface] = frozenset({"ofx", "page"})
CLI: frozenset[Surface] = frozenset({"cli"})
OFX: frozenset[Surface] = frozenset({"ofx"})
PAGE: frozenset[Surface] = frozenset({"page"})
CLI_PAGE: frozenset[Surface] = frozenset({"cli", "page"})


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One row of the table.

    Attributes:
        name: script name, camelCase; exact.
        field: the snake_case field of the settings, or None for buttons, read-outs and display knobs.
        minimum, maximum: inclusive range of a number; None is unlimited.
        shown_on: the surfaces that show the knob.
        alias: another script name that is accepted.
        kept: whether a host's project stores the value of a read-out; it stores all other knobs.
    """

    name: str
    label: str
    kind: Kind
    default: Any
    page: str
    hint: str
    field: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    display: tuple[float, float] | None = None
    shown_on: frozenset[Surface] = EVERYWHERE
    alias: str | None = None
    kept: bool = False


def choice_label(choice: Any) -> str:
    """The text of a choice; a size of 0 is ``None``."""
    return "None" if choice == 0 else str(choice)


def camel_case(name: str) -> str:
    """``crop_size`` -> ``cropSize``."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def knob(
    default: Any,
    label: str,
    hint: str,
    *,
    page: str = "Advanced",
    kind: Kind | None = None,
    name: str | None = None,
    choices: tuple[Any, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    display: tuple[float, float] | None = None,
    shown_on: frozenset[Surface] = EVERYWHERE,
    alias: str | None = None,
) -> Any:
    """A dataclass field with its row of the table as metadata."""
    row = {
        "label": label,
        "hint": hint,
        "page": page,
        "kind": kind,
        "name": name,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "display": display,
        "shown_on": shown_on,
        "alias": alias,
    }
    return field(default=default, metadata=row)


class SettingsError(CopycatError):
    """A value that a knob does not allow; the message names the knob, the value and what is allowed."""


class Table:
    """Base of the settings classes: converts and checks values by their knobs."""

    @classmethod
    def knobs(cls) -> tuple[Knob, ...]:
        """The knobs of this class's fields, in order."""
        return tuple(_row(f, hint) for f, hint in _fields_with_types(cls))

    def __post_init__(self) -> None:
        for knob in self.knobs():
            assert knob.field is not None
            value = _checked(knob, getattr(self, knob.field))
            object.__setattr__(self, knob.field, value)

    def to_dict(self) -> dict[str, Any]:
        """The values by script name, as ``<run>.json`` and a .cat store them."""
        return {knob.name: getattr(self, knob.field) for knob in self.knobs() if knob.field}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> typing.Self:
        """The inverse of :meth:`to_dict`; script names, aliases and field names are accepted.

        Raises:
            SettingsError: no object, an unknown name, or a value that its knob does not allow.
        """
        if not isinstance(values, Mapping):
            raise SettingsError(f"settings are an object of knobs and values, not {str(values)[:80]!r}")
        names: dict[str, str] = {}
        for knob in cls.knobs():
            assert knob.field is not None
            for name in (knob.name, knob.field, knob.alias):
                if name:
                    names[name] = knob.field
        unknown = [name for name in values if name not in names]
        if unknown:
            raise SettingsError(f"unknown knob {unknown[0]!r}; the knobs are {', '.join(k.name for k in cls.knobs())}")
        return cls(**cls._completed({names[name]: value for name, value in values.items()}))

    @classmethod
    def from_file(cls, path: str | Path) -> typing.Self:
        """Reads a settings file: a JSON object of script names and values.

        Raises:
            SettingsError: the file cannot be read, is no JSON object, or has a value that its knob does not allow.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: the settings file cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise SettingsError(f"{path}: not a JSON settings file: {error}") from None
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: a settings file is a JSON object of knob names and values")
        try:
            return cls.from_dict(values)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from None

    def replace(self, **changes: Any) -> typing.Self:
        """A copy with some fields changed, checked again; what a change implies changes with it.

        Raises:
            SettingsError: a name is not a field, a value does not fit, or it has no effect beside the others.
        """
        names = [knob.field for knob in self.knobs() if knob.field]
        for name in changes:
            if name not in names:
                raise SettingsError(f"unknown knob {name!r}; the knobs are {', '.join(sorted(names))}")
        return dataclasses.replace(self, **self._implied(changes))  # type: ignore[type-var]

    def respelt(self, **values: Any) -> typing.Self:
        """A copy with values that mean the same, such as absolute paths; they imply nothing."""
        return dataclasses.replace(self, **values)  # type: ignore[type-var]

    @classmethod
    def _completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """``values`` with those that one of them stands for and that are not given."""
        return values

    def _implied(self, changes: dict[str, Any]) -> dict[str, Any]:
        """``changes`` with the knobs without which they have no effect; SettingsError where both contradict."""
        return changes


def _fields_with_types(cls: type[Table]) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    for f in fields(cls):  # type: ignore[arg-type]
        yield f, hints[f.name]


def _row(f: dataclasses.Field[Any], hint: Any) -> Knob:
    row: Mapping[str, Any] = f.metadata
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "string"}
    assert f.default is not MISSING
    kind = row["kind"] or ("choice" if row["choices"] else kinds[hint])
    return Knob(
        name=row["name"] or camel_case(f.name),
        label=row["label"],
        kind=kind,
        default=f.default,
        page=row["page"],
        hint=row["hint"],
        field=f.name,
        choices=row["choices"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        display=row["display"],
        shown_on=row["shown_on"],
        alias=row["alias"],
    )


def _checked(knob: Knob, value: Any) -> Any:
    """``value`` in the knob's type, or SettingsError."""
    value_type = type(knob.default)
    for choice in knob.choices:
        if str(value).lower() == choice_label(choice).lower():
            return choice
    if value_type is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", "on", "off", "1", "0"):
            return value.lower() in ("true", "on", "1")
        if value in (0, 1):
            return bool(value)
        raise SettingsError(f"{knob.label} ({knob.name}) is on or off, not {value!r}")
    if value_type is str:
        if knob.kind == "string" and isinstance(value, (list, tuple, range)) and value:
            value = ",".join(map(str, value))
        value = str(value) if isinstance(value, (str, Path, int)) else value
        if not isinstance(value, str):
            raise SettingsError(f"{knob.label} ({knob.name}) is text, not {value!r}")
        if knob.kind in ("file", "directory"):
            value = os.path.expanduser(value)
    else:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise SettingsError(f"{knob.label} ({knob.name}) is a number, not {value!r}") from None
        if not math.isfinite(number) or (value_type is int and number != int(number)):
            description = "a whole number" if value_type is int else "a finite number"
            raise SettingsError(f"{knob.label} ({knob.name}) is {description}, not {value!r}")
        value = value_type(number)
    if knob.choices:
        if value in knob.choices:
            return value
        allowed = ", ".join(map(choice_label, knob.choices))
        raise SettingsError(f"{knob.label} ({knob.name}) is one of {allowed}, not {value!r}")
    below = knob.minimum is not None and value < knob.minimum
    above = knob.maximum is not None and value > knob.maximum
    if below or above:
        low = "" if knob.minimum is None else f"at least {_plain(knob.minimum)}"
        high = "" if knob.maximum is None else f"at most {_plain(knob.maximum)}"
        raise SettingsError(f"{knob.label} ({knob.name}) is {' and '.join(filter(None, (low, high)))}, not {value!r}")
    return value


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
