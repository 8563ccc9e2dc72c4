"""The one exception a user is meant to read."""

from __future__ import annotations


class PairsiftError(Exception):
    """Bad input or a run that must not go on: one line saying what, where and what to do.

    The command line prints the message alone, without a traceback, and exits with code 2.

    Attributes:
        exit_code: of the command line.
    """

    exit_code = 2


class NothingScoredError(PairsiftError):
    """A run that tried pairs and scored none of them; the command line exits with code 4."""

    exit_code = 4
