"""What makes a caption fit to be scored, and what is said of those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsift.captions import (
    MAX_CAPTION_BYTES,
    MAX_CAPTION_CHARACTERS,
    check_caption,
    decode_caption,
)
from pairsift.pair import Fault, Status


def status_of(outcome: str | Fault) -> Status:
    assert isinstance(outcome, Fault), outcome
    assert outcome.error
    return outcome.status


def test_good_captions_pass_unchanged() -> None:
    for caption in ("a dog", "一只狗", " padded ", "two\nlines", "x" * MAX_CAPTION_CHARACTERS):
        assert check_caption(caption) == caption


def test_nul_counts_as_space() -> None:
    assert check_caption("a\0dog") == "a dog"
    assert status_of(check_caption("\0\0")) is Status.CAPTION_EMPTY


@pytest.mark.parametrize("caption", ["", " ", "\n\t", "\u3000\u00a0"])
def test_white_space_is_empty(caption: str) -> None:
    assert status_of(check_caption(caption)) is Status.CAPTION_EMPTY


def test_missing_too_large_and_half_surrogate() -> None:
    assert status_of(check_caption(None)) is Status.CAPTION_MISSING
    too_long = "x" * (MAX_CAPTION_CHARACTERS + 1)
    assert status_of(check_caption(too_long)) is Status.CAPTION_TOO_LARGE
    assert status_of(check_caption("a \ud83d dog")) is Status.CAPTION_INVALID


def test_decoding() -> None:
    assert decode_caption("né\0".encode()) == "né\0"
    assert decode_caption(b"\xef\xbb\xbfa dog") == "a dog"
    invalid = decode_caption(b"caf\xe9")
    assert status_of(invalid) is Status.CAPTION_INVALID
    assert isinstance(invalid, Fault)
    assert "0xe9 at 3" in invalid.error
    assert status_of(decode_caption(bytes(MAX_CAPTION_BYTES + 1))) is Status.CAPTION_TOO_LARGE


@given(st.binary(max_size=300))
def test_any_bytes_give_a_caption_or_a_reason(data: bytes) -> None:
    caption = decode_caption(data)
    if isinstance(caption, Fault):
        assert caption.status is Status.CAPTION_INVALID
        return
    checked = check_caption(caption)
    if isinstance(checked, Fault):
        assert checked.status is Status.CAPTION_EMPTY
    else:
        checked.encode()
