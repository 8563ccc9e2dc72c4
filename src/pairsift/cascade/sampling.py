"""Chance that is the same on every machine: a pair's draw is a hash of its name."""

from __future__ import annotations

import hashlib

_BITS = 53  # of a float's mantissa


def draw(seed: int, shard: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but these."""
    name = f"{seed}:{shard}/{key}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _BITS)) / 2.0**_BITS


def is_audited(drawn: float, rate: float) -> bool:
    """Whether a pair with this draw belongs to the share `rate` that is always fully scored."""
    return drawn >= 1 - rate
