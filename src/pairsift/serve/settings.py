"""What a server allows, and who may ask it."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from pairsift.errors import PairsiftError

KEY_VARIABLE = "PAIRSIFT_API_KEY"
MIN_KEY_CHARACTERS = 16
MIB = 2**20


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Limits and doors of a server; the defaults are safe on a machine shared with others.

    Attributes:
        host, port: where to listen; port 0 takes any that is free.
        api_key: clients send it as ``Authorization: Bearer KEY``; None asks for none.
        open_to_all: listen beyond the loopback without a key.
        allow_remote: fetch images from URLs that clients give.
        allow_networks: private networks (CIDR) from which images may be fetched all the same.
        batch_size: pairs on the device at a time; None for the scorer's own wish.
        max_wait: seconds a batch that is not full waits for pairs already being decoded.
        workers: processes that decode images; 0 decodes in threads of the server.
        max_body: bytes of a request.
        max_image: bytes of an encoded image.
        max_pixels: of a decoded one; decoding takes up to 13 bytes a pixel and worker.
        max_pairs: captions, or URLs, of a request.
        max_queue: pairs taken on and not yet answered; above it clients get 429.
        max_bytes: of all bodies held; above it clients get 503. Fetched images may take as much
            again, and wait for their turn.
        max_connections: open at once; above it clients get 503.
        time_limit: seconds from the body's arrival to the answer; then 504.
        body_time_limit: seconds a client has to send its request; then 408.
        fetch_time_limit: seconds an image may take to be fetched, redirects included.
        grace: seconds that requests in hand are given when the server is told to stop.
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
    grace: float = 15.0

    def __post_init__(self) -> None:
        """Refuse what would be unsafe or could never answer.

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
                f"${KEY_VARIABLE} or --api-key-file, or say --no-api-key if everyone may ask"
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
                f"a queue of {self.max_queue} pairs has no room for a request of "
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


def read_api_key(file: str | None) -> str | None:
    """The key from a file, else from the environment; never from the command line, which every
    user of the machine can read.

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
