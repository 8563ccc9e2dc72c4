"""Make command-line options from the dataclass of a step's options.

Each step has one dataclass, see :mod:`pairsift.options`. Its fields become the options of the
command, and their :class:`Doc` the help texts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Le
from typing_extensions import Doc

from pairsift.errors import PairsiftError
from pairsift.options import Argument, Commas, Pairs

Command = TypeVar("Command", bound=Callable[..., None])


def with_options(**groups: type) -> Callable[[Command], Command]:
    """Give a command the fields of dataclasses as options, and its own parameters that have notes.

    Args:
        groups: parameter of the command: the dataclass whose instance it gets. The command's own
            parameters come after these, but what is needed comes first.

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
        made_of = {group: _fields(model) for group, model in groups.items()}
        # Python 3.10's get_type_hints would hide the notes of options whose default is None.
        hints = inspect.get_annotations(command, eval_str=True)
        own = [p for p in inspect.signature(command).parameters.values() if p.name not in groups]
        described = [
            _Option(p.name, hints[p.name], p.default)
            for p in own
            if any(isinstance(note, Doc) for note in get_args(hints[p.name]))
        ]
        parameters = [option.parameter() for options in made_of.values() for option in options]
        for item in own:
            option = next((each for each in described if each.name == item.name), None)
            parameters.append(
                option.parameter()
                if option
                else item.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[item.name])
            )

        # Required options are shown first.
        parameters.sort(key=lambda item: item.default is not inspect.Parameter.empty)

        @wraps(command)
        def call(**given: Any) -> None:
            made = {
                group: groups[group](
                    **{option.name: option.value(given.pop(option.name)) for option in options}
                )
                for group, options in made_of.items()
            }
            given |= {option.name: option.value(given[option.name]) for option in described}
            command(**made, **given)

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {item.name: item.annotation for item in parameters}
        return call  # type: ignore[return-value]

    return decorate


@dataclass(frozen=True, slots=True)
class _Option:
    """A parameter that is described by notes, see :mod:`pairsift.options`."""

    name: str
    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def _is(self, kind: type) -> bool:
        return any(isinstance(note, kind) for note in get_args(self.hint))

    @property
    def _is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    def parameter(self) -> inspect.Parameter:
        """Return what typer makes a command-line option of."""
        kind, *notes = get_args(self.hint)
        shown: dict[str, Any] = {}
        for note in notes:
            if isinstance(note, Doc):
                shown["help"] = note.documentation
            if isinstance(note, Ge):
                shown["min"] = note.ge
            if isinstance(note, Le):
                shown["max"] = note.le
        option, default = typer.Option(self.flag, **shown), self.default
        if self._is(Argument):
            option = typer.Argument(**shown)
        if self._is(Commas):
            kind = str
            if default is not inspect.Parameter.empty:
                kind, default = str | None, ",".join(f"{item:g}" for item in default) or None
        elif self._is(Pairs) or get_origin(kind) is tuple:
            kind = list[str]
            if default is not inspect.Parameter.empty:
                kind, default = list[str] | None, None
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, option],
        )

    def value(self, given: Any) -> Any:
        """Convert a value from the command line to the parameter's value."""
        if self._is(Pairs):
            return _pairs(self.name, given or [])
        if given is None:
            return self.default
        if self._is(Commas):
            return self._split(given)
        return tuple(given) if isinstance(given, list) else given

    def _split(self, text: str) -> tuple[Any, ...]:
        """Split values at commas; convert them to numbers if the default has numbers."""
        parts = [part.strip() for part in text.split(",")]
        if self._is_required or not self.default or isinstance(self.default[0], str):
            return tuple(parts)
        try:
            return tuple(float(part) for part in parts)
        except ValueError:
            shown = ",".join(f"{number:g}" for number in self.default)
            raise PairsiftError(
                f"{self.flag} {text!r}: give numbers separated by commas, for example {shown}"
            ) from None


def _fields(model: type) -> list[_Option]:
    """Return the fields of an options dataclass."""
    hints = get_type_hints(model, include_extras=True)
    return [
        _Option(
            field.name,
            hints[field.name],
            inspect.Parameter.empty
            if field.default is MISSING and field.default_factory is MISSING
            else field.default,
        )
        for field in fields(model)
    ]


def _pairs(name: str, texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise PairsiftError(f"--{name.replace('_', '-')} {text!r}: write NAME=VALUE")
        pairs[key] = value
    return pairs
