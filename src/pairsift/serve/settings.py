"""The limits of a server, and who may use it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from pairsift.errors import PairsiftError
from pairsift.options import SERVE_GRACE_S, ServeOptions

KEY_VARIABLE = "PAIRSIFT_API_KEY"
MIN_KEY_CHARACTERS = 16
MIB = 2**20


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Who may use a server, and its limits. The defaults are safe on a shared machine.

    Attributes:
        host, port: address to listen on; ``127.0.0.1`` and 8000. Port 0 takes a free one.
        api_key: key that clients send as ``Authorization: Bearer KEY``, at least 16 characters;
            None needs no key.
        open_to_all: let other machines connect without a key.
        allow_remote: fetch images from URLs that clients send.
        allow_networks: private networks, such as ``10.1.0.0/16``, from which images may be fetched
            too.
        batch_size: pairs per forward pass; None for the scorer's default.
        max_wait: longest time in seconds that a batch that is not full waits for pairs that are
            being decoded; 0.01.
        workers: processes that decode images; 1. With 0, threads of the server decode.
        max_body: largest request, in bytes; 32 MiB.
        max_image: largest encoded image, in bytes; 16 MiB.
        max_pixels: largest image, in pixels; 32 million. Decoding takes up to 13 bytes of memory
            per pixel and worker.
        max_pairs: most captions, or URLs, in a request; 64.
        max_queue: most pairs waiting for their scores; 512. Above it, clients get 429.
        max_bytes: memory for all requests together, in bytes; 256 MiB. Above it, clients get 503.
            Fetched images may take the same amount again; above that they wait.
        max_connections: most open connections; 512. Above it, clients get 503.
        time_limit: longest time from the end of a request to its answer, in seconds; 120. Then
            clients get 504.
        body_time_limit: longest time to receive a request, in seconds; 30. Then clients get 408.
        fetch_time_limit: longest time to fetch an image, redirects included, in seconds; 10.
        grace: time for requests to finish when the server stops, in seconds; 15.

    Raises:
        PairsiftError: a setting is unsafe, or makes every request fail.

    Examples:
        >>> ServeSettings(port=8765).is_local
        True
        >>> ServeSettings(host="0.0.0.0")
        Traceback (most recent call last):
        pairsift.errors.PairsiftError: 0.0.0.0 can be reached from other machines: ...
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    open_to_all: bool = False
    allow_remote: bool = False
    allow_networks: tuple[str, ...] = ()
    batch_size: int | None = None
    max_wait: float = 0.01
    workers: int = 1
    max_body: int = 32 * MIB
    max_image: int = 16 * MIB
    max_pixels: int = 32_000_000
    max_pairs: int = 64
    max_queue: int = 512
    max_bytes: int = 256 * MIB
    max_connections: int = 512
    time_limit: float = 120.0
    body_time_limit: float = 30.0
    fetch_time_limit: float = 10.0
    grace: float = SERVE_GRACE_S

    def __post_init__(self) -> None:
        """Refuse settings that are unsafe or with which no request can succeed.

        Raises:
            PairsiftError: says which setting, and what to do.
        """
        if self.api_key is not None and len(self.api_key) < MIN_KEY_CHARACTERS:
            raise PairsiftError(
                f"the API key has {len(self.api_key)} characters, at least {MIN_KEY_CHARACTERS} "
                "are needed; make one with: openssl rand -hex 32"
            )
        if not self.is_local and self.api_key is None and not self.open_to_all:
            raise PairsiftError(
                f"{self.host} can be reached from other machines: set an API key in "
                f"${KEY_VARIABLE} or --api-key-file, or allow everyone with --no-api-key"
            )
        if self.allow_networks and not self.allow_remote:
            raise PairsiftError("--allow-network needs --allow-remote")
        for network in self.allow_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise PairsiftError(
                    f"--allow-network {network!r}: {error}; write it as 10.1.0.0/16"
                ) from None
        for name in ("max_body", "max_image", "max_pixels", "max_pairs"):
            if getattr(self, name) < 1:
                raise PairsiftError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_queue < self.max_pairs:
            raise PairsiftError(
                f"a queue of {self.max_queue} pairs cannot hold a request of "
                f"{self.max_pairs}: raise --max-queue, or lower --max-pairs"
            )
        if self.max_bytes < max(self.max_body, self.max_image):
            raise PairsiftError(
                f"{self.max_bytes:,} bytes in all are less than a body ({self.max_body:,}) or an "
                f"image ({self.max_image:,}) may have: raise --max-memory-mib"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def settings_of(options: ServeOptions) -> ServeSettings:
    """Make the settings from the options of the command line.

    Raises:
        PairsiftError: see :class:`ServeSettings` and :func:`read_api_key`.
    """
    return ServeSettings(
        host=options.host,
        port=options.port,
        api_key=read_api_key(options.api_key_file),
        open_to_all=options.no_api_key,
        allow_remote=options.allow_remote,
        allow_networks=options.allow_network,
        batch_size=options.batch_size,
        max_wait=options.max_wait_ms / 1000,
        workers=options.workers,
        max_body=int(options.max_body_mib * MIB),
        max_image=int(options.max_image_mib * MIB),
        max_pixels=options.max_pixels,
        max_pairs=options.max_pairs,
        max_queue=options.max_queue,
        max_bytes=int(options.max_memory_mib * MIB),
        time_limit=options.time_limit,
    )


def read_api_key(file: str | None) -> str | None:
    """Read the key from a file, else from the environment.

    It is never read from the command line, which every user of the machine can see.

    Raises:
        PairsiftError: the file cannot be read, or holds no key.
    """
    if file is None:
        return os.environ.get(KEY_VARIABLE, "").strip() or None
    try:
        key = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise PairsiftError(f"--api-key-file {file}: {why}") from None
    if not key:
        raise PairsiftError(f"--api-key-file {file} is empty; write the key into it")
    return key
