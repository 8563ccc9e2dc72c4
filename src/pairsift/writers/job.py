"""The two parts of a writer: a function checks everything and returns a job, which writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

Parameters = ParamSpec("Parameters")
Written = TypeVar("Written", covariant=True)


class Job(Protocol[Written]):
    """An output that is ready to be written."""

    def write(self) -> Written:
        """Write the output."""


def at_once(prepare: Callable[Parameters, Job[Written]]) -> Callable[Parameters, Written]:
    """Make the function that prepares and writes."""

    @wraps(prepare)
    def write(*args: Parameters.args, **options: Parameters.kwargs) -> Written:
        return prepare(*args, **options).write()

    return write
