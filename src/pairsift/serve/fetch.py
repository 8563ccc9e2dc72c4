"""Fetch images from URLs of untrusted clients without access to the internal network.

The address is checked when the connection is made, after the name is resolved and on every
redirect, and the connection uses the checked address. So a name that resolves to another address a
moment later is no danger. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore2

from pairsift import __version__
from pairsift.pair import Fault, Pair, Status

MAX_REDIRECTS = 5
MAX_URL_CHARACTERS = 8_192
_REDIRECTS = (301, 302, 303, 307, 308)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is public, and also any address embedded in it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if not all(is_public(one) for one in inner if one is not None):
            return False
        if address.ipv4_mapped is not None:
            return True
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int) -> list[str]:
    """Return all addresses of a name from the system's resolver.

    The resolver also understands other spellings of numbers, such as 0x7f.1.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class _RefusedError(Exception):
    """The URL must not be fetched. ``str()`` is for the client and contains no address."""


class _TooLargeError(Exception):
    pass


class _Backend(httpcore2.AsyncNetworkBackend):
    """Connects to checked addresses only."""

    def __init__(self, allowed: Iterable[Network], resolve: Resolve) -> None:
        self._inner = httpcore2.AnyIOBackend()
        self._allowed = tuple(allowed)
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError("its host name cannot be resolved") from None
        # One bad address is enough, because the connection may get any of them.
        if not addresses or not all(self._may_connect(address) for address in addresses):
            raise _RefusedError(
                "its address is private, loopback, link-local or reserved, and this server does "
                "not fetch from there"
            )
        error: Exception | None = None
        for address in dict.fromkeys(addresses):
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore2.ConnectError as failed:
                error = failed
        raise httpcore2.ConnectError("the server cannot connect to its host") from error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise _RefusedError("sockets of this machine are not fetched from")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)

    def _may_connect(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return is_public(address) or any(address in network for network in self._allowed)


class Fetcher:
    """Fetches images, each within a size and a time limit, and a limited number at once.

    Args:
        max_bytes: of one image.
        time_limit: seconds for one image, redirects included.
        at_once: images that are being fetched, or wait to be decoded, at any time.
        allow_networks: private networks (CIDR) that may be fetched from.
        resolve: a function from host and port to addresses.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        time_limit: float,
        at_once: int,
        allow_networks: Iterable[str] = (),
        resolve: Resolve = resolve,
    ) -> None:
        self._max_bytes = max_bytes
        self._time_limit = time_limit
        self._at_once = asyncio.Semaphore(at_once)
        allowed = [ipaddress.ip_network(network) for network in allow_networks]
        self._pool = httpcore2.AsyncConnectionPool(
            max_connections=at_once,
            max_keepalive_connections=0,
            network_backend=_Backend(allowed, resolve),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    @contextlib.asynccontextmanager
    async def pair(self, url: str, caption: str, key: str) -> AsyncIterator[Pair]:
        """Return the pair of an image at a URL; with a fault if the image cannot be fetched."""
        async with self._at_once:
            found = await self.fetch(url)
            if isinstance(found, Fault):
                yield Pair(key, None, caption, fault=found)
            else:
                yield Pair(key, found, caption)

    async def fetch(self, url: str) -> bytes | Fault:
        """Return the bytes at a URL, or why they cannot be fetched."""
        try:
            return await asyncio.wait_for(self._follow(url), self._time_limit)
        except asyncio.TimeoutError:
            why = f"fetching it took more than {self._time_limit:g} s"
        except _TooLargeError as error:
            return Fault(Status.IMAGE_TOO_LARGE, str(error))
        except (_RefusedError, httpcore2.ConnectError) as error:
            why = str(error) or "the server cannot connect to its host"
        except (OSError, ValueError, httpcore2.ProtocolError, httpcore2.NetworkError):
            why = "its server does not answer with valid HTTP"
        return Fault(Status.READ_ERROR, f"the image cannot be fetched: {why}")

    async def _follow(self, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._get(_checked(url))
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise _RefusedError(f"it is redirected more than {MAX_REDIRECTS} times")

    async def _get(self, url: str) -> bytes | str:
        """Return the content, or the address of a redirect."""
        headers = [
            ("Host", urlsplit(url).netloc),
            ("User-Agent", f"pairsift/{__version__}"),
            ("Accept", "image/*"),
            ("Accept-Encoding", "identity"),  # content that is compressed twice may become huge
        ]
        async with self._pool.stream("GET", url, headers=headers) as response:
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in fields:
                return fields[b"location"].decode("latin-1")
            if response.status != 200:
                raise _RefusedError(f"its server answers with HTTP status {response.status}")
            content = bytearray()
            async for chunk in response.aiter_stream():
                content += chunk
                if len(content) > self._max_bytes:
                    raise _TooLargeError(f"more than {self._max_bytes:,} bytes, which are read")
            return bytes(content)


def _checked(url: str) -> str:
    if len(url) > MAX_URL_CHARACTERS:
        raise _RefusedError(f"its URL has more than {MAX_URL_CHARACTERS:,} characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _RefusedError("it is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _RefusedError("only http:// and https:// URLs are fetched")
    if parts.username is not None or parts.password is not None:
        raise _RefusedError("its URL holds a user name or password")
    if not url.isascii() or any(ord(character) <= 32 for character in url):
        raise _RefusedError("its URL has characters that must be percent-encoded")
    return url
