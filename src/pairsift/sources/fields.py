"""A path into nested data, for JSON members and parquet columns alike: ``captions.0``.

Dots separate steps. A step names a field of an object, or counts into a list: 0 is the first, -1
the last, ``*`` every one. A field whose own name holds dots is found as it is; double quotes keep a
name together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Step = str | int
_STEP = re.compile(r'"([^"]*)"|([^.]+)')
_MOST_NAMES = 20
EVERY = "*"
"""the step that takes every item of a list"""


class Items:
    """Stands for a list whose items all have the same type, when only the type is known."""

    def __init__(self, item: Any) -> None:
        self.item = item


class NoFieldError(Exception):
    """The path does not exist in the data; the message says where it ends and what is there."""


def follow(data: Any, path: str) -> tuple[tuple[Step, ...], Any]:
    """Walk along a path.

    Args:
        data: mappings, lists and plain values, as read from JSON; :class:`Items` for types.

    Returns:
        the steps taken, and the value at the end.

    Raises:
        NoFieldError: a step finds nothing.
    """
    ((steps, value),) = values_at(data, path)
    if isinstance(value, NoFieldError):
        raise value
    return steps, value


def values_at(data: Any, path: str, lists: bool = False) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Walk along a path like :func:`follow`, perhaps to several values.

    Args:
        lists: a step `EVERY` takes all items of a list, and so does a path that ends at a list.

    Yields:
        the steps taken, and the value at the end, or a :class:`NoFieldError` in its place; an empty
        list is one such error. Of types, the steps have `EVERY` in place of a number.
    """
    return _walk(data, _names(path), (), lists)


def takes_every(path: str) -> bool:
    """Return whether a path has a step `EVERY`."""
    return EVERY in _names(path)


def _names(path: str) -> list[str]:
    return [quoted or plain for quoted, plain in _STEP.findall(path)]


def _walk(
    data: Any, names: list[str], taken: tuple[Step, ...], lists: bool
) -> Iterator[tuple[tuple[Step, ...], Any]]:
    is_list = isinstance(data, list | Items)
    if lists and is_list and names[:1] in ([], [EVERY]):
        items: Iterable[tuple[Step, Any]]
        items = enumerate(data) if isinstance(data, list) else [(EVERY, data.item)]
        for step, item in items:
            yield from _walk(item, names[1:], (*taken, step), lists)
        if data == []:
            yield taken, NoFieldError(f"{join_steps(taken) or 'it'} is an empty list")
        return
    if not names:
        yield taken, data
        return
    try:
        step, data, names = _step(data, names, taken)
    except NoFieldError as error:
        yield taken, error
        return
    yield from _walk(data, names, (*taken, step), lists)


def _step(data: Any, names: list[str], taken: tuple[Step, ...]) -> tuple[Step, Any, list[str]]:
    """Take one step; return it, what is there, and the names that are left."""
    if isinstance(data, Mapping):
        # The longest name first, because a name may contain dots.
        for end in range(len(names), 0, -1):
            name = ".".join(names[:end])
            if name in data:
                return name, data[name], names[end:]
        where = f" in {join_steps(taken)}" if taken else ""
        there = f"there are {list_names(data)}" if data else "it is empty"
        raise NoFieldError(f"there is no field {names[0]!r}{where}; {there}")
    here = join_steps(taken) or "it"
    if not isinstance(data, list | Items):
        raise NoFieldError(f"{here} is {describe(data)}, which has no fields")
    if not re.fullmatch(r"-?\d{1,9}", names[0]):
        raise NoFieldError(f"{here} is a list: give a number, 0 for the first, not {names[0]!r}")
    number = int(names[0])
    if isinstance(data, Items):
        return number, data.item, names[1:]
    try:
        return number, data[number], names[1:]
    except IndexError:
        raise NoFieldError(f"{here} is a list of {len(data)}, with no item {names[0]}") from None


def leaves(data: Any, prefix: tuple[Step, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every path in the data with its value; of lists, only the first item."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from leaves(value, (*prefix, name))
    elif isinstance(data, Items):
        yield from leaves(data.item, (*prefix, 0))
    elif isinstance(data, list) and data:
        yield from leaves(data[0], (*prefix, 0))
    else:
        yield join_steps(prefix), data


def join_steps(steps: tuple[Step, ...] | list[Step]) -> str:
    """Return the path with these steps."""
    return ".".join(f'"{step}"' if "." in str(step) else str(step) for step in steps)


def list_names(names: Any) -> str:
    """Format names for an error, only the first ones if there are many."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _MOST_NAMES} more" if len(listed) > _MOST_NAMES else ""
    return (", ".join(listed[:_MOST_NAMES]) or "none") + more


def describe(value: Any) -> str:
    """Describe a JSON value in words."""
    if isinstance(value, Mapping):
        return f"an object with the fields {list_names(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "null" if value is None else "text" if isinstance(value, str) else str(value)
