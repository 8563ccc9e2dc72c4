"""Exceptions whose message is written for the user."""

from __future__ import annotations


class PairsiftError(Exception):
    """Bad input, or a run that must stop. The message says what is wrong, where, and what to do.

    The command line prints the message without a traceback.

    Attributes:
        exit_code: exit code of the command line; 2.

    Examples:
        >>> from pairsift import load_scorer
        >>> try:
        ...     load_scorer("heuristic")
        ... except PairsiftError as error:
        ...     print(error)
        no scorer 'heuristic': did you mean 'heuristics'? choose from ...
    """

    exit_code = 2


class NothingScoredError(PairsiftError):
    """A run tried pairs but could score none; the command line exits with code 4."""

    exit_code = 4
