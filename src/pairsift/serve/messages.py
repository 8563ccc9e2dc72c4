"""The JSON messages of the server and their OpenAPI description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pairsift.metrics import Better, Metric
from pairsift.pair import Status

Value = bool | int | float | str | None


class ScoredRow(BaseModel):
    """One pair: its status and, if that is `ok`, its scores."""

    status: Status = Field(description="`ok`, or why there are no scores.")
    error: str | None = Field(description="The reason in words; null when ok.")
    width: int | None = Field(description="Of the image as stored, in pixels.")
    height: int | None = Field(description="Of the image as stored, in pixels.")
    caption_length: int | None = Field(description="In characters.")
    scores: dict[str, Value] = Field(
        description="The scorer's columns by name, as in a score table; null when not ok."
    )


class ScoreAnswer(BaseModel):
    """One row for each caption or URL of the request, in the same order."""

    rows: list[ScoredRow]


class UrlPair(BaseModel):
    """The URL of an image, and a caption."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="http:// or https:// URL of an image.")
    caption: str


class UrlRequest(BaseModel):
    """Pairs whose images the server fetches."""

    model_config = ConfigDict(extra="forbid")

    pairs: list[UrlPair]
    metrics: list[str] = []


class MetricMeaning(BaseModel):
    """What the column of a metric means."""

    title: str
    aspect: str
    asks: str = Field(description="The question that the model was asked.")
    low: float = Field(description="The smallest value of an answer.")
    high: float = Field(description="The largest value of an answer.")
    better: Better = Field(description="Which end of the scale is the good one.")
    answers: dict[str, int] | list[dict[str, float | list[str]]] = Field(
        description="The range of whole numbers, or each answer's value and spellings."
    )


class ScorerFacts(BaseModel):
    """The scorer, and the limits of this server."""

    scorer: str
    fingerprint: dict[str, str] = Field(description="Text with everything that decides a score.")
    columns: list[str]
    metrics: list[str] = Field(description="The names that `metrics` may contain.")
    meanings: dict[str, MetricMeaning] = Field(
        description="What each metric's column means, by name."
    )
    limits: dict[str, int | float]


class Health(BaseModel):
    """Whether the server can score."""

    status: str


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


_MEANINGS = {
    400: "The body cannot be read.",
    401: "The API key is missing or wrong.",
    403: "The server does not allow this, or not for this client.",
    408: "The request took too long to arrive.",
    413: "The request has too many bytes.",
    415: "The body has an unsupported media type.",
    422: "A field is missing, unknown, or has an invalid value.",
    429: "Too many pairs are waiting; see Retry-After.",
    503: "The server has no capacity now; see Retry-After.",
    504: "Scoring took too long.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return error responses for the OpenAPI document."""
    return {code: {"model": Problem, "description": _MEANINGS[code]} for code in codes}


def request_body(metrics: Mapping[str, Metric], max_pairs: int, with_urls: bool) -> dict[str, Any]:
    """Return the `requestBody` of `POST /score`, because our own limited reader reads the body."""
    several = {"type": "array", "minItems": 1, "maxItems": max_pairs}
    form_fields: dict[str, Any] = {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "JPEG, PNG, WebP, GIF, BMP or TIFF. An unreadable image gives "
            "rows with a status, not an error.",
        },
        # In a form, a single value and a list with one value look the same.
        "caption": {
            "anyOf": [{"type": "string"}, several | {"items": {"type": "string"}}],
            "description": "One per row of the answer; repeat the field.",
        },
    }
    json_fields: dict[str, Any] = {"pairs": several | {"items": UrlPair.model_json_schema()}}
    if metrics:
        name = {"type": "string", "enum": list(metrics)}
        names = {"type": "array", "items": name}
        asked = "".join(
            f"\n- `{name}`, {metric.scale.low:g} to {metric.scale.high:g}: {metric.asks}"
            for name, metric in metrics.items()
        )
        told = {"description": f"Score only these metrics; all if left out.\n{asked}"}
        form_fields["metrics"] = {"anyOf": [name, names]} | told
        json_fields["metrics"] = names | told
    form = {
        "type": "object",
        "required": ["image", "caption"],
        "additionalProperties": False,
        "properties": form_fields,
    }
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if with_urls:
        content["application/json"] = {
            "schema": {
                "type": "object",
                "required": ["pairs"],
                "additionalProperties": False,
                "properties": json_fields,
            }
        }
    return {"required": True, "content": content}
