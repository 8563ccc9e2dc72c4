"""A writer's two halves: what prepares checks everything, and the job that it returns writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

Parameters = ParamSpec("Parameters")
Written = TypeVar("Written", covariant=True)


class Job(Protocol[Written]):
    """An output that is ready to be written."""

    def write(self) -> Written:
        """Write it."""


def at_once(prepare: Callable[Parameters, Job[Written]]) -> Callable[Parameters, Written]:
    """Make the function that prepares and writes."""

    @wraps(prepare)
    def write(*args: Parameters.args, **options: Parameters.kwargs) -> Written:
        return prepare(*args, **options).write()

    return write
