"""Settings of a server that are unsafe, or allow nothing, are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.serve import ServeSettings
from pairsift.serve.settings import KEY_VARIABLE, read_api_key

KEY = "correct-horse-battery-staple"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gpu7.example"])
def test_an_address_that_others_reach_needs_a_key_or_a_permission(host: str) -> None:
    with pytest.raises(PairsiftError, match="--api-key-file"):
        ServeSettings(host=host)
    ServeSettings(host=host, api_key=KEY)
    ServeSettings(host=host, open_to_all=True)


def test_key_comes_from_file_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_api_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert read_api_key(None) == KEY
    file = tmp_path / "key"
    file.write_text("another-key-of-some-length\n")
    assert read_api_key(str(file)) == "another-key-of-some-length"
    file.write_text("\n")
    with pytest.raises(PairsiftError, match="is empty"):
        read_api_key(str(file))
    with pytest.raises(PairsiftError, match="No such file"):
        read_api_key(str(tmp_path / "none"))


def test_short_keys_are_refused_and_none_is_shown() -> None:
    with pytest.raises(PairsiftError, match="at least 16"):
        ServeSettings(api_key="secret")
    assert KEY not in repr(ServeSettings(api_key=KEY))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_queue": 8, "max_pairs": 9}, "raise --max-queue"),
        ({"max_bytes": 1000}, "raise --max-memory-mib"),
        ({"max_pixels": 0}, "at least 1"),
    ],
)
def test_limits_that_allow_nothing_are_refused(limits: dict[str, int], words: str) -> None:
    with pytest.raises(PairsiftError, match=words):
        ServeSettings(**limits)  # type: ignore[arg-type]
