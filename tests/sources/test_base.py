"""What all sources share: uids, declared failures, texts of lists, checksums of samples."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pairsift.pair import Fault, Pair, Status
from pairsift.sources.base import (
    Shard,
    ShardReader,
    any_text,
    declared_failure,
    printable,
    valid_uid,
)

UID = "0123456789abcdefABCDEF0123456789"


class Given(ShardReader):
    """Yields nothing; only its checksums are asked for."""

    kind = "given"

    def __iter__(self) -> Iterator[Pair]:
        return iter(())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (UID, UID),
        (bytes(range(16)), bytes(range(16)).hex()),
        (uuid.UUID(int=5), f"{5:032x}"),
        (UID[:-1], None),
        (UID + "0", None),
        (f" {UID}", None),
        (f"{UID}\n", None),
        (str(uuid.UUID(int=5)), None),
        (b"short", None),
        (5, None),
        (None, None),
        ("\uff10" * 32, None),  # digits, but no hexadecimal ones
    ],
)
def test_a_uid_has_32_hexadecimal_digits(value: object, expected: str | None) -> None:
    assert valid_uid(value) == expected


FAULT = Fault(Status.CAPTION_MISSING, "null")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(["a", "b"], "a"), ([FAULT, "b"], "b"), ([None, FAULT], None), ([FAULT, None], FAULT)],
)
def test_of_a_list_the_first_text_is_taken(texts: list[Any], expected: Any) -> None:
    assert any_text(texts) == expected


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"status": "failed_to_download", "error_message": "404"}, "failed_to_download: 404"),
        ({"status": "failed_to_resize"}, "failed_to_resize: no reason given"),
        ({"status": "odd", "error_message": ""}, "odd: no reason given"),
        ({"status": "failed\udcff", "error_message": "\ud83d"}, "failed\\xff: \\ud83d"),
        ({"status": "success", "error_message": None}, None),
        ({"status": "married"}, None),
        ({"status": 404, "error_message": "x"}, None),
        ({}, None),
    ],
)
def test_failures_that_a_source_declares(metadata: dict[str, Any], words: str | None) -> None:
    expected = words and Fault(Status.SOURCE_FAILED, words)
    assert declared_failure(metadata) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain \u72ac", "plain \u72ac"), ("\udce9t\udce9", "\\xe9t\\xe9"), ("\ud83d", "\\ud83d")],
)
def test_printable_text_fits_into_utf_8(text: str, expected: str) -> None:
    assert printable(text) == expected
    printable(text).encode()


def test_a_checksum_changes_with_every_part_of_a_sample() -> None:
    pair = Pair("k", b"image", "caption", uid=UID)
    others = [
        replace(pair, image=b"imagf"),
        replace(pair, image=None),
        replace(pair, caption="captions"),
        replace(pair, caption=None),
        replace(pair, caption="caption\0"),
        replace(pair, caption="\ud83d"),
        replace(pair, uid=None),
        replace(pair, caption="captionimage", image=b""),  # the same bytes, divided otherwise
    ]
    reader = Given(Shard("s", "/s", "given"))
    found = [reader.check(each) for each in (pair, *others)]
    assert len(set(found)) == len(found)
    assert reader.check(replace(pair, key="another")) == found[0]
    assert all(0 <= value < 2**32 for value in found)
