"""Explain an error of a storage in one sentence, and say whether waiting helps.

Libraries wrap errors in other errors: fsspec says that a file does not exist when the server is
overloaded. So the whole chain of causes is examined.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from pairsift.errors import PairsiftError

# Not all of their errors are OSErrors, for example for broken connections and incomplete answers.
NETWORK_PACKAGES = frozenset(
    {
        *("aiohttp", "aiobotocore", "azure", "botocore", "gcsfs", "google", "httpcore", "httpx"),
        *("httpcore2", "httpx2", "huggingface_hub", "requests", "s3fs", "urllib3"),
    }
)
_LOGIN_NAMES = ("Credential", "ProfileNotFound", "SSOToken", "TokenRetrieval", "RefreshError")
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_LOGIN_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})
_LOGIN_HELP = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login`",
    "gs": "run `gcloud auth application-default login`",
    "hf": "run `hf auth login`, or set HF_TOKEN",
}
# What libraries raise where an answer stops half way, or where a connection breaks.
_CUT_NAMES = frozenset(
    {
        *("ClientPayloadError", "ServerDisconnectedError", "ClientConnectionResetError"),
        *("IncompleteRead", "IncompleteReadError", "ResponseStreamingError", "ProtocolError"),
        *("RemoteProtocolError", "ReadError", "ChunkedEncodingError", "ConnectionClosedError"),
    }
)
_LONGEST_CHAIN = 12


class Cause(Enum):
    """Why a storage request fails."""

    MISSING = "it does not exist"
    DENIED = "access is denied; check the permissions and the credentials"
    NO_LOGIN = "there are no credentials that the store accepts"
    EXPIRED = "the credentials have expired"
    GATED = (
        "it is gated: ask for access on its page on the hub, then run `hf auth login` or set "
        "HF_TOKEN"
    )
    OFFLINE = (
        "the hub cannot be asked: this machine is offline (HF_HUB_OFFLINE is set) or cannot reach "
        "it; "
        "unset that, or use a copy on this machine"
    )
    BUSY = "the store is overloaded and asks for fewer requests"
    SERVER = "the store has an internal error"
    REFUSED = "the connection is refused; is the server up, and the address right?"
    NO_HOST = "the name of the host is not known (DNS); check the address and the network"
    TIMEOUT = "there is no answer in time; check the network"
    CUT = "the connection was closed before all bytes had come; check the network and the server"
    OTHER = ""

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self in (
            Cause.BUSY,
            Cause.SERVER,
            Cause.REFUSED,
            Cause.NO_HOST,
            Cause.TIMEOUT,
            Cause.CUT,
        )

    @property
    def everywhere(self) -> bool:
        """Whether it affects the whole storage, not only one file."""
        return self in (Cause.NO_LOGIN, Cause.EXPIRED, Cause.OFFLINE)


class StorageError(PairsiftError):
    """A storage request failed; `cause` says why."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


def storage_error(error: BaseException, where: str, verb: str) -> StorageError:
    """Return the error in one sentence: what could not be done, where, why, and what helps.

    Args:
        where: path or URL.
        verb: what was tried: "read", "list", "write", ...
    """
    if isinstance(error, StorageError):
        return error
    cause = find_cause(error)
    if cause is Cause.MISSING:
        return StorageError(f"{where} does not exist; was it moved or deleted?", cause)
    return StorageError(f"cannot {verb} {where}: {reason(error, where)}", cause)


def with_reason(error: Exception, read_a_byte: Callable[[], object]) -> Exception:
    """Return the error of a GET request where S3 refused a HEAD request.

    The answer to a HEAD request has no body, so it cannot say why: permissions, or expired
    credentials.

    Args:
        read_a_byte: sends a GET request for the same object.
    """
    if any(_code(link) == "403" for link in _chain(error)):
        try:
            read_a_byte()
        except Exception as told:
            return told
    return error


def reason(error: BaseException, where: str = "") -> str:
    """Return the cause in words, and what helps."""
    cause = find_cause(error)
    if cause is Cause.OTHER:
        if isinstance(error, StorageError) and error.__cause__ is not None:
            error = error.__cause__
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    status = status_of(error)
    words: str = cause.value
    if cause in (Cause.BUSY, Cause.SERVER, Cause.DENIED) and status:
        head, semicolon, help_ = words.partition(";")
        words = f"{head} ({status}){semicolon}{help_}"
    if cause in (Cause.NO_LOGIN, Cause.EXPIRED):
        scheme = urlsplit(where).scheme.replace("s3a", "s3").replace("gcs", "gs")
        words += f"; {_LOGIN_HELP.get(scheme, 'log in, or give them in the address')}"
    return words


def find_cause(error: BaseException) -> Cause:
    """Return the cause of an error of a storage library."""
    links = list(_chain(error))
    for link in links:
        if (cause := _cause(link)) is not None:
            return cause
    for link in links:  # libraries turn many errors into these
        if type(link).__name__ == "LocalEntryNotFoundError":
            return Cause.OFFLINE
        if isinstance(link, FileNotFoundError):
            return Cause.MISSING
        if isinstance(link, PermissionError):
            return Cause.DENIED
    return Cause.OTHER


def is_of_network(error: BaseException) -> bool:
    """Return whether an error comes from a library that talks to a storage or a hub."""
    return any(
        type(link).__module__.partition(".")[0] in NETWORK_PACKAGES for link in _chain(error)
    )


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error; None if it has none."""
    return next((status for link in _chain(error) if (status := _status(link))), None)


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asks to wait; None if it does not say."""
    for link in _chain(error):
        value = _headers(link).get("retry-after")
        if value is not None and str(value).strip().isdigit():
            return float(value)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__  # even if the library hides it


def _cause(error: BaseException) -> Cause | None:
    """Return what one error of the chain says for certain."""
    name, code, status = type(error).__name__, _code(error), _status(error)
    if name == "OfflineModeIsEnabled":
        return Cause.OFFLINE
    if name == "GatedRepoError":
        return Cause.GATED
    if name == "HfUriError":  # above a repository, nothing can be listed
        return Cause.MISSING
    if code in _EXPIRED_CODES:
        return Cause.EXPIRED
    if code in _LOGIN_CODES or any(part in name for part in _LOGIN_NAMES):
        return Cause.NO_LOGIN
    if name in ("RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError"):
        return Cause.MISSING
    if status is not None:
        is_http = type(error).__module__.startswith("aiohttp")
        return Cause.DENIED if status == 401 and is_http else _cause_of_status(status, code)
    if isinstance(error, socket.gaierror):
        return Cause.NO_HOST
    if isinstance(error, ConnectionRefusedError):
        return Cause.REFUSED
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return Cause.TIMEOUT
    if isinstance(error, (ConnectionResetError, BrokenPipeError)) or name in _CUT_NAMES:
        return Cause.CUT
    if isinstance(error, OSError) and error.errno == errno.EBUSY:
        return Cause.BUSY
    return None


def _cause_of_status(status: int, code: str | None) -> Cause | None:
    if status == 401:
        return Cause.NO_LOGIN
    if status == 400 and code == "400":  # the answer to a HEAD request of S3 has no reason
        return Cause.EXPIRED
    if status == 403:
        return Cause.DENIED
    if status in (404, 410):
        return Cause.MISSING
    if status == 408:
        return Cause.TIMEOUT
    if status in (429, 503):
        return Cause.BUSY
    return Cause.SERVER if 500 <= status < 600 else None


def _status(error: BaseException) -> int | None:
    """Return the HTTP status, wherever the library keeps it."""
    response = getattr(error, "response", None)
    found: Any
    if isinstance(response, Mapping):  # botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(response, "status_code", None)
    for name in ("status", "status_code", "code"):  # aiohttp, azure, gcsfs
        found = getattr(error, name, None) if found is None else found
    return found if isinstance(found, int) and 400 <= found < 600 else None


def _code(error: BaseException) -> str | None:
    """Return S3's name for an error."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        found = response.get("Error", {}).get("Code")
        return str(found) if found else None
    return None


def _headers(error: BaseException) -> dict[str, Any]:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        found = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    else:
        found = getattr(error, "headers", None) or getattr(response, "headers", None)
    return {str(name).lower(): value for name, value in dict(found or {}).items()}
