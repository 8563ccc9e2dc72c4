"""The cost of a paid teacher: estimated before the run, counted during the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# For English; languages with other scripts need more tokens per character.
_CHARACTERS_PER_TOKEN = 4.0
_ANSWER_TOKENS_A_METRIC = 60

_TILE, _TOKENS_A_TILE, _BASE_TOKENS = 512, 170, 85
_LONG_SIDE, _SHORT_SIDE = 2048, 768


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in any currency per million tokens; 0 if nothing is paid or no price is given."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: float, output_tokens: float) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / 1e6

    @property
    def known(self) -> bool:
        return self.input > 0 or self.output > 0


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text, roughly, for English."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def image_tokens(width: int, height: int, detail: str = "auto") -> int:
    """Return the tokens of an image by the tile rule of GPT-4o; other models count differently.

    At low detail the image takes 85. Otherwise it is scaled to fit into 2048 x 2048, then until its
    shorter side is 768; each tile of 512 x 512 that it touches takes 170, plus 85 in all.
    """
    if detail == "low":
        return _BASE_TOKENS
    scale = min(1.0, _LONG_SIDE / max(width, height))
    scale = min(scale, _SHORT_SIDE / min(width, height))
    tiles = math.ceil(width * scale / _TILE) * math.ceil(height * scale / _TILE)
    return _BASE_TOKENS + _TOKENS_A_TILE * tiles


def answer_tokens(metrics: int) -> int:
    """Estimate the tokens of an answer, roughly, with rationales of two sentences."""
    return _ANSWER_TOKENS_A_METRIC * metrics


@dataclass(slots=True)
class Bill:
    """Requests, tokens and cost, estimated or counted.

    Attributes:
        estimated: requests whose tokens were estimated, because the endpoint did not count them.
    """

    prices: Prices = field(default_factory=Prices)
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0

    def add(self, input_tokens: int, output_tokens: int, *, estimated: bool = False) -> None:
        self.requests += 1
        self.estimated += estimated
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    @property
    def cost(self) -> float:
        return self.prices.of(self.input_tokens, self.output_tokens)

    def text(self) -> str:
        """One line for people."""
        words = (
            f"{self.requests:,} requests, {self.input_tokens:,} input and "
            f"{self.output_tokens:,} output tokens"
        )
        if self.estimated:
            words += f" (estimated for {self.estimated:,}, which the endpoint did not count)"
        return words + (
            f", {self.cost:,.4f} in the currency of the prices" if self.prices.known else ""
        )

    def to_json(self) -> dict[str, float | int | None]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "estimated": self.estimated,
            "cost": round(self.cost, 6) if self.prices.known else None,
        }
