"""Find out which fields of the OpenAI protocol an endpoint supports, from its error messages.

Servers and models differ: the token limit has two names, some models accept no temperature, some
servers no schema. The error message names the field. That field is then left out or written
another way for the rest of the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Structured = Literal["json_schema", "json_object", "none"]
Limit = Literal["max_tokens", "max_completion_tokens"]

_REFUSES = re.compile(
    r"\bnot\b.{0,40}(support|permit|allow|accept|recogni|implement|known|valid|availab|enabled)"
    r"|\b(un|in)(supported|recogni[sz]ed|known|expected|valid)\b|\bextra\b|forbidden|deprecated"
    r"|\bmust be\b|\bonly\b|\binstead\b|cannot|can't|no such|literal_error|enum|mutually",
    re.I | re.DOTALL,
)
_LIMIT = re.compile(r"\bmax_(?:completion_)?tokens\b")
# A limit above the model's context window is another problem than the field's name.
_TOO_LARGE = re.compile(r"too (?:large|high|long|many)|context (?:length|window)|maximum", re.I)
_STRUCTURED = re.compile(
    r"response_?format|json_?schema|json_object|json mode|structured|guided|grammar"
    r"|additionalproperties|\bschema\b",
    re.I,
)
_DETAIL = re.compile(
    r"image_url[\W_]{1,6}detail\b|\b(?:argument|field|parameter|property|key|name)s?\W{1,4}detail\b"
    r"|['\"`]detail['\"`] (?:is|was|field|parameter)",
    re.I,
)
_ECHOES = ("input", "ctx", "url")
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which fields a request has, and under which names.

    Attributes:
        limit: name of the field for the token limit.
        limit_is_settled: whether the other name was already tried.
        temperature, detail: whether these fields are sent.
        structured: how the endpoint is made to return JSON.
    """

    limit: Limit
    structured: Structured
    temperature: bool
    detail: bool = True
    limit_is_settled: bool = False

    def after(self, refusal: str) -> tuple[Dialect, str] | None:
        """Return the dialect to try after an error, and the change in words.

        Args:
            refusal: the endpoint's error message.

        Returns:
            None if the message names no field that could be left out.
        """
        if not _REFUSES.search(refusal):
            return None
        if _LIMIT.search(refusal) and not self.limit_is_settled and not _TOO_LARGE.search(refusal):
            other: Limit = "max_completion_tokens" if self.limit == "max_tokens" else "max_tokens"
            return (
                replace(self, limit=other, limit_is_settled=True),
                f"{other} in place of {self.limit}",
            )
        if self.temperature and re.search(r"\btemperature\b", refusal, re.I):
            return replace(self, temperature=False), "no temperature"
        if self.detail and _DETAIL.search(refusal):
            return replace(self, detail=False), "no detail of images"
        if self.structured != "none" and _STRUCTURED.search(refusal):
            lower: Structured = "json_object" if self.structured == "json_schema" else "none"
            told = (
                "no response_format" if lower == "none" else "json_object in place of json_schema"
            )
            return replace(self, structured=lower), told
        return None


def words_of(body: Any) -> str:
    """Return all text of an error's body, except what it repeats of the request."""
    if isinstance(body, Mapping):
        parts = [words_of(value) for key, value in body.items() if key not in _ECHOES]
        return " ".join(filter(None, parts))[:_LONGEST]
    if isinstance(body, (list, tuple)):
        return ", ".join(filter(None, map(words_of, body)))[:_LONGEST]
    return "" if body is None else str(body)[:_LONGEST]
