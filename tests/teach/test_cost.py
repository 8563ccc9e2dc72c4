"""What a paid teacher costs."""

from __future__ import annotations

import pytest

from pairsift.teach.cost import Bill, Prices, image_tokens, text_tokens


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        # OpenAI's own examples.
        ((1024, 1024), "high", 765),
        ((2048, 4096), "high", 1105),
        ((4096, 8192), "low", 85),
        ((512, 512), "auto", 255),
        ((513, 100), "auto", 425),
    ],
)
def test_tokens_of_an_image(size: tuple[int, int], detail: str, tokens: int) -> None:
    assert image_tokens(*size, detail) == image_tokens(*size[::-1], detail) == tokens


def test_a_bill_adds_up_and_says_what_was_not_counted() -> None:
    bill = Bill(Prices(input=2.0, output=10.0))
    bill.add(1_000_000, 100_000)
    bill.add(500_000, 0, estimated=True)
    assert bill.cost == pytest.approx(4.0)
    assert "2 requests, 1,500,000 input and 100,000 output tokens" in bill.text()
    assert "estimated for 1, " in bill.text()
    assert bill.to_json()["cost"] == 4.0


def test_without_prices_there_is_no_cost() -> None:
    bill = Bill()
    bill.add(10, 10)
    assert bill.to_json()["cost"] is None
    assert "currency" not in bill.text()
    assert text_tokens("") == 0
    assert text_tokens("abcde") == 2
