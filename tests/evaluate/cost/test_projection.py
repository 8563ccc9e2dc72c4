"""Arithmetic of the projection, and of what a scorer costs."""

from __future__ import annotations

import pytest

from pairsift.evaluate.cost.projection import POOLS, count, duration, project, significant


def test_twice_the_devices_take_half_the_time_for_the_same_money() -> None:
    one, two = (project(100.0, devices, price=2.5) for devices in (1, 2))
    assert [found.pairs for found in one] == list(POOLS)
    assert one[0].seconds == 128_000
    for alone, together in zip(one, two, strict=True):
        assert together.seconds == alone.seconds / 2
        assert together.device_hours == alone.device_hours == alone.pairs / 100 / 3600
        assert together.cost == alone.cost == pytest.approx(alone.device_hours * 2.5)
    assert all(found.cost is None for found in project(100.0, 1))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.500 s"),
        (119, "119 s"),
        (3600, "60.0 min"),
        (7200, "2.00 h"),
        (86_400, "24.0 h"),
        (30 * 86_400, "30.0 days"),
        (3 * 365 * 86_400, "3.00 years"),
    ],
)
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_numbers_have_three_digits() -> None:
    assert [significant(value) for value in (0.1234, 1.2, 12.34, 99.96, 123.4, 12_345)] == [
        "0.123",
        "1.20",
        "12.3",
        "100",
        "123",
        "12,345",
    ]
    assert [count(pairs) for pairs in POOLS] == ["12.8M", "128M", "1.28B", "12.8B"]
