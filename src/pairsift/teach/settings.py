"""Settings of the OpenAI-style teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairsift.metrics import METRICS, Metric
from pairsift.teach.dialect import Structured

OFFICIAL_HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """How the teacher sends its requests.

    Attributes:
        model: the name that the endpoint uses.
        base_url: of the endpoint, with `/v1`; None for OpenAI's own.
        metrics: the metrics to ask for.
        structured: how the endpoint is made to return JSON. If it rejects one way, the next is
            used: `json_schema`, `json_object`, `none`.
        temperature: None, or an endpoint that rejects the field, leaves it to the endpoint.
        max_output_tokens: longer answers are truncated.
        detail: `low`, `high` or `auto`, for endpoints that support it.
        max_side: longer images are scaled down, in pixels. All images are encoded again as JPEG, so
            that no metadata (place, owner) is sent.
        concurrency: how many requests run at the same time.
        requests_per_minute: None for no limit.
        timeout: of one request, in seconds.
        retries: how often a request is repeated on rate limits, timeouts and server errors.
        attempts: requests for a well-formed answer about a pair, in all runs together.
        give_up_after: the run stops after this many failed requests in a row.
        known: what the metrics are, by name.
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
    known: Mapping[str, Metric] = field(default_factory=lambda: METRICS)

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides an answer besides model, prompt and pair; in the cache key."""
        return {
            "structured": self.structured,
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "detail": self.detail,
            "max_side": self.max_side,
        }

    @property
    def endpoint(self) -> str:
        """The endpoint's address, for messages and the cache."""
        return self.base_url or OFFICIAL_HOST
