"""A path into nested data, for JSON members and parquet columns alike: ``captions.0``.

Dots separate steps. A step names a field of an object, or counts into a list: 0 is the first, -1
the last. A field whose own name holds dots is found as it is; double quotes keep a name together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Step = str | int
_STEP = re.compile(r'"([^"]*)"|([^.]+)')
_MOST_NAMES = 20


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
    names = [quoted or plain for quoted, plain in _STEP.findall(path)]
    taken: list[Step] = []
    place = 0
    while place < len(names):
        where = f" in {join_steps(taken)}" if taken else ""
        if isinstance(data, Mapping):
            # The longest name first, because a name may contain dots.
            for end in range(len(names), place, -1):
                name = ".".join(names[place:end])
                if name in data:
                    break
            else:
                there = f"there are {list_names(data)}" if data else "it is empty"
                raise NoFieldError(f"there is no field {names[place]!r}{where}; {there}")
            taken.append(name)
            data, place = data[name], end
            continue
        if not isinstance(data, list | Items):
            raise NoFieldError(
                f"{join_steps(taken) or 'it'} is {describe(data)}, which has no fields"
            )
        number = names[place]
        if not re.fullmatch(r"-?\d{1,9}", number):
            raise NoFieldError(
                f"{join_steps(taken)} is a list: give a number, 0 for the first, not {number!r}"
            )
        taken.append(int(number))
        place += 1
        if isinstance(data, Items):
            data = data.item
            continue
        try:
            data = data[int(number)]
        except IndexError:
            raise NoFieldError(
                f"{join_steps(taken[:-1]) or 'it'} is a list of {len(data)}, with no item {number}"
            ) from None
    return tuple(taken), data


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
