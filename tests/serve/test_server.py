"""The server's process: its socket, its first scores, its end."""

from __future__ import annotations

import socket

import pytest

from pairsift.errors import PairsiftError
from pairsift.scorers.heuristics import HeuristicsScorer
from pairsift.serve import ServeSettings, running_server


def test_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PairsiftError, match=f"port {port}"),
            running_server(HeuristicsScorer(), ServeSettings(port=port)),
        ):
            pass
