"""From pairs per second on one device to time and money for a pool on many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

POOLS = (12_800_000, 128_000_000, 1_280_000_000, 12_800_000_000)
"""Pairs of DataComp's four scales."""

_UNITS = (("years", 365 * 86_400), ("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_UNIT_NAMES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Projection:
    """Scoring a pool once.

    Attributes:
        seconds: on the clock, all devices at work.
        device_hours: of all of them together.
        cost: device hours times the price of one; None without a price.
    """

    pairs: int
    seconds: float
    device_hours: float
    cost: float | None

    def text(self) -> str:
        """`3.2 days`, and the cost behind it."""
        words = duration(self.seconds)
        return words if self.cost is None else f"{words}, {self.cost:,.0f}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def project(
    rate: float, devices: int, price: float | None = None, pools: Sequence[int] = POOLS
) -> list[Projection]:
    """Time and cost for pools of several sizes.

    Args:
        rate: pairs per second of one device.
        price: of a device for an hour.
    """
    found = []
    for pairs in pools:
        device_seconds = pairs / rate
        hours = device_seconds / 3600
        cost = None if price is None else hours * price
        found.append(Projection(pairs, device_seconds / devices, hours, cost))
    return found


def duration(seconds: float) -> str:
    """In the largest unit that it has two of, at three digits: `3.25 days`."""
    for name, length in _UNITS:
        if seconds >= 2 * length:
            return f"{significant(seconds / length)} {name}"
    return f"{significant(seconds)} s"


def count(pairs: int) -> str:
    """`12.8M`."""
    for size, name in _UNIT_NAMES:
        if pairs >= size:
            return f"{pairs / size:g}{name}"
    return str(pairs)


def significant(value: float) -> str:
    """Three digits, or all that stand before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")
