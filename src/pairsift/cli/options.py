"""Make command-line options from the dataclass of a step's options.

Each step has one dataclass, see :mod:`pairsift.options`. Its fields become the options of the
command, and their :class:`Doc` the help texts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Le
from typing_extensions import Doc

from pairsift.errors import PairsiftError
from pairsift.options import Argument, Commas, Pairs

Command = TypeVar("Command", bound=Callable[..., None])


def with_options(**groups: type) -> Callable[[Command], Command]:
    """Give a command the fields of dataclasses as options.

    Args:
        groups: parameter of the command: the dataclass whose instance it gets. The command's own
            parameters come after these.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Paint:
        ...     colour: Annotated[str, Doc("Name of the colour.")] = "red"
        >>> @with_options(paint=Paint)
        ... def command(paint: Paint, times: int = 1) -> None:
        ...     print([paint.colour] * times)
        >>> [name for name in inspect.signature(command).parameters]
        ['colour', 'times']
        >>> command(colour="blue", times=2)
        ['blue', 'blue']
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command).parameters.values()
        hints = get_type_hints(command, include_extras=True)
        parameters = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            for model in groups.values()
            for name, annotation, default in _parameters(model)
        ]
        parameters += [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
            for parameter in own
            if parameter.name not in groups
        ]

        @wraps(command)
        def call(**given: Any) -> None:
            made = {
                group: model(**{f.name: _value(f, given.pop(f.name)) for f in fields(model)})
                for group, model in groups.items()
            }
            command(**made, **given)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {item.name: item.annotation for item in parameters}
        return call  # type: ignore[return-value]

    return decorate


def _parameters(model: type) -> list[tuple[str, Any, Any]]:
    """Yield the name, annotation and default that typer needs for each field."""
    hints = get_type_hints(model, include_extras=True)
    found: list[tuple[str, Any, Any]] = []
    for field in fields(model):
        kind, *notes = get_args(hints[field.name])
        shown: dict[str, Any] = {}
        for note in notes:
            if isinstance(note, Doc):
                shown["help"] = note.documentation
            if isinstance(note, Ge):
                shown["min"] = note.ge
            if isinstance(note, Le):
                shown["max"] = note.le
        default: Any = inspect.Parameter.empty if field.default is MISSING else field.default
        flag = f"--{field.name.replace('_', '-')}"
        option = typer.Option(flag, **shown)
        if any(isinstance(note, Argument) for note in notes):
            kind, option = list[str], typer.Argument(**shown)
        elif any(isinstance(note, Commas) for note in notes):
            kind, default = str | None, ",".join(f"{item:g}" for item in default) or None
        elif any(isinstance(note, Pairs) for note in notes) or get_origin(kind) is tuple:
            kind, default = list[str] | None, None
        found.append((field.name, Annotated[kind, option], default))
    return found


def _value(field: Field[Any], given: Any) -> Any:
    """Convert a value from the command line to the field's value."""
    if field.default_factory is not MISSING:
        return _pairs(field.name, given or [])
    if given is None:
        return field.default
    if isinstance(field.default, tuple) and isinstance(given, str):
        return _split(field, given)
    return tuple(given) if isinstance(given, list) else given


def _split(field: Field[Any], text: str) -> tuple[Any, ...]:
    """Split values at commas; convert them to numbers if the default has numbers."""
    parts = [part.strip() for part in text.split(",")]
    default: Any = field.default
    if not default or isinstance(default[0], str):
        return tuple(parts)
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        shown = ",".join(f"{number:g}" for number in default)
        raise PairsiftError(
            f"--{field.name.replace('_', '-')} {text!r}: give numbers separated by commas, "
            f"for example {shown}"
        ) from None


def _pairs(name: str, texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise PairsiftError(f"--{name.replace('_', '-')} {text!r}: write NAME=VALUE")
        pairs[key] = value
    return pairs
