"""Settings of a server that are unsafe, or allow nothing, are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.errors import PairsiftError
from pairsift.options import ServeOptions
from pairsift.serve import ServeSettings
from pairsift.serve.settings import KEY_VARIABLE, read_api_key, settings_of

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


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("127.1", False), ("", False),
    ],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host: str, local: bool) -> None:
    assert ServeSettings(host=host, open_to_all=True).is_local is local


@pytest.mark.parametrize("network", ["10.1.2.3/16", "10.1.0.0/40", "inside", ""])
def test_networks_are_written_as_address_and_length(network: str) -> None:
    with pytest.raises(PairsiftError, match=r"--allow-network .*; write it as 10\.1\.0\.0/16"):
        ServeSettings(allow_remote=True, allow_networks=(network,))


def test_a_network_needs_remote_images() -> None:
    with pytest.raises(PairsiftError, match="--allow-network needs --allow-remote"):
        ServeSettings(allow_networks=("10.1.0.0/16",))
    ServeSettings(allow_remote=True, allow_networks=("10.1.0.0/16", "fd00::/8"))


def test_options_of_the_command_become_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    (tmp_path / "key").write_text(KEY)
    options = ServeOptions(
        max_wait_ms=250, max_body_mib=0.5, max_image_mib=0.25, api_key_file=str(tmp_path / "key"),
        port=0, no_api_key=True,
    )  # fmt: skip
    made = settings_of(options)
    assert (made.max_wait, made.max_body, made.max_image) == (0.25, 2**19, 2**18)
    assert (made.api_key, made.port, made.open_to_all) == (KEY, 0, True)
    plain = settings_of(ServeOptions())
    assert plain == ServeSettings()


def test_a_key_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(PairsiftError, match="key: not text"):
        read_api_key(str(tmp_path / "key"))
    with pytest.raises(PairsiftError, match="Is a directory"):
        read_api_key(str(tmp_path))
