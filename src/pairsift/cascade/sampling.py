"""Random draws that are the same on every machine: a hash of the pair's name."""

from __future__ import annotations

import hashlib

_BITS = 53  # bits of a float's mantissa


def draw(seed: int, shard: str, key: str) -> float:
    """Return a number in [0, 1) that depends only on the arguments."""
    name = f"{seed}:{shard}/{key}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _BITS)) / 2.0**_BITS


def is_audited(drawn: float, rate: float) -> bool:
    """Return whether a pair with this draw is in the fraction `rate` that is audited."""
    return drawn >= 1 - rate
