"""How the OpenAI-style teacher is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pairsift.metrics import METRICS
from pairsift.teach.dialect import Structured

OFFICIAL_HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """How to ask.

    Attributes:
        model: as the endpoint names it.
        base_url: of the endpoint, with `/v1`; None for OpenAI's own.
        metrics: that are asked for.
        structured: how the form of the answer is enforced. What the endpoint refuses is lowered:
            `json_schema`, `json_object`, `none`.
        temperature: None leaves it to the endpoint; so does an endpoint's refusal.
        max_output_tokens: where a runaway answer is cut.
        detail: `low`, `high` or `auto`, for endpoints that know it.
        max_side: longer images are scaled down, in pixels. All are encoded anew as JPEG, so that
            no metadata (place, owner) leaves the house.
        concurrency: requests at a time.
        requests_per_minute: None for no limit of our own.
        timeout: of one request, in seconds.
        retries: of one request on rate limits, timeouts and server errors.
        attempts: at getting a well-formed answer, all runs counted.
        give_up_after: requests in a row that failed for good, before the run stops.
    """

    model: str
    base_url: str | None = None
    metrics: Sequence[str] = tuple(METRICS)
    structured: Structured = "json_schema"
    temperature: float | None = 0.0
    max_output_tokens: int = 1000
    detail: str = "auto"
    max_side: int = 768
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 120.0
    retries: int = 8
    attempts: int = 3
    give_up_after: int = 10

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides an answer beside model, prompt and pair; part of the cache key."""
        return {
            "structured": self.structured,
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "detail": self.detail,
            "max_side": self.max_side,
        }

    @property
    def endpoint(self) -> str:
        """For messages and the cache."""
        return self.base_url or OFFICIAL_HOST
