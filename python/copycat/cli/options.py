"""Turns the table of knobs into options of commands."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from copycat.settings.knob import Knob, choice_label
from copycat.settings.tables import InferenceSettings, ProgressSettings, Settings

_OPTION_NAMES = {"training_frames": ("--frames", "--training-frames"), "tile_overlap": ("--tile-overlap",)}

KnobTable = type[Settings] | type[InferenceSettings] | type[ProgressSettings]


def knob_options(settings: KnobTable, skip: tuple[str, ...] = ()) -> list[inspect.Parameter]:
    """One keyword parameter for each knob that the command line shows; None if the user does not give it."""
    parameters = []
    for knob in settings.knobs():
        assert knob.field is not None
        if "cli" not in knob.shown_on or knob.field in skip:
            continue
        parameters.append(
            inspect.Parameter(
                knob.field,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[_option_type(knob) | None, _option(knob)],
            )
        )
    return parameters


def _option_type(knob: Knob) -> Any:
    if knob.kind != "choice":
        return type(knob.default)
    return enum.Enum(knob.name, {label: label for label in map(choice_label, knob.choices)})


def _option(knob: Knob) -> Any:
    assert knob.field is not None
    name = knob.field.replace("_", "-")
    names = list(_OPTION_NAMES.get(knob.field, (f"--{name}",)))
    if knob.kind == "bool":
        names = [f"--{name}/--no-{name}"]
        if knob.alias:
            short = knob_kebab(knob.alias)
            names.append(f"--{short}/--no-{short}")
    default = (
        "on"
        if knob.default is True
        else "off"
        if knob.default is False
        else choice_label(knob.default)
        if knob.choices
        else str(knob.default)
    )
    hint = knob.hint + (f" [default: {default}]" if default else "")
    return typer.Option(
        *names, help=hint.replace("[", r"\["), rich_help_panel=knob.page, show_default=False, case_sensitive=False
    )


def knob_kebab(name: str) -> str:
    """``useMultiResolution`` -> ``use-multi-resolution``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)


def with_knobs(settings: KnobTable, skip: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of all knobs; those that the user gives arrive in its ``**knobs``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]

        def wrapped(**values: Any) -> None:
            plain = {name: value.value if isinstance(value, enum.Enum) else value for name, value in values.items()}
            command(**{name: value for name, value in plain.items() if name in names or value is not None})

        names = {p.name for p in own}
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        wrapped.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*keyword, *knob_options(settings, (*skip, *names))]
        )
        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        return wrapped

    return decorate
