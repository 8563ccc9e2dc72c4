"""The one exception a user is meant to read."""

from __future__ import annotations


class PairsiftError(Exception):
    """Bad input or a run that must not go on: one line saying what, where and what to do.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """
