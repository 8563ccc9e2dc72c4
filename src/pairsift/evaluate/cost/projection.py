"""Project pairs per second on one device to time and money for a pool on many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

POOLS = (12_800_000, 128_000_000, 1_280_000_000, 12_800_000_000)
"""Number of pairs of DataComp's four scales."""

_UNITS = (("years", 365 * 86_400), ("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_UNIT_NAMES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Projection:
    """Time and cost of scoring a pool once.

    Attributes:
        seconds: elapsed time, with all devices working.
        device_hours: sum over the devices.
        cost: device hours times the price of one hour; None without a price.
    """

    pairs: int
    seconds: float
    device_hours: float
    cost: float | None

    def text(self) -> str:
        """Format as `3.2 days`, and the cost if known."""
        words = duration(self.seconds)
        return words if self.cost is None else f"{words}, {self.cost:,.0f}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def project(
    rate: float, devices: int, price: float | None = None, pools: Sequence[int] = POOLS
) -> list[Projection]:
    """Compute time and cost for pools of several sizes.

    Args:
        rate: pairs per second of one device.
        price: price of one device for an hour.
    """
    found = []
    for pairs in pools:
        device_seconds = pairs / rate
        hours = device_seconds / 3600
        cost = None if price is None else hours * price
        found.append(Projection(pairs, device_seconds / devices, hours, cost))
    return found


def duration(seconds: float) -> str:
    """Format seconds in the largest unit of which there are two, three digits: `3.25 days`."""
    for name, length in _UNITS:
        if seconds >= 2 * length:
            return f"{significant(seconds / length)} {name}"
    return f"{significant(seconds)} s"


def count(pairs: int) -> str:
    """Format a number as `12.8M`."""
    for size, name in _UNIT_NAMES:
        if pairs >= size:
            return f"{pairs / size:g}{name}"
    return str(pairs)


def significant(value: float) -> str:
    """Format with three significant digits, or all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")
