"""What errors of storage libraries mean; the chains are those that the libraries raise."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.client import IncompleteRead
from itertools import pairwise

import pytest

from pairsift.retry import Backoff, is_transient, wait_before_retry
from pairsift.storage_errors import Cause, find_cause, reason, storage_error


def _chain(*errors: BaseException) -> BaseException:
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def _botocore(status: int, code: str) -> BaseException:
    exceptions = pytest.importorskip("botocore.exceptions")
    answer = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "7"}},
    }
    error: BaseException = exceptions.ClientError(answer, "GetObject")
    return error


def _aiohttp(status: int) -> BaseException:
    aiohttp = pytest.importorskip("aiohttp")
    error: BaseException = aiohttp.ClientResponseError(
        None, (), status=status, headers={"Retry-After": "3"}
    )
    return error


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: _chain(FileNotFoundError("u"), _aiohttp(503)), Cause.BUSY),
        (lambda: _chain(FileNotFoundError("u"), _aiohttp(429)), Cause.BUSY),
        (lambda: _chain(FileNotFoundError("u"), _aiohttp(502)), Cause.SERVER),
        (lambda: _chain(FileNotFoundError("u"), _aiohttp(403)), Cause.DENIED),
        (lambda: _chain(FileNotFoundError("u"), _aiohttp(401)), Cause.DENIED),
        (lambda: _chain(FileNotFoundError("u"), _aiohttp(404)), Cause.MISSING),
        (lambda: _chain(FileNotFoundError("u"), ConnectionRefusedError(111, "r")), Cause.REFUSED),
        (lambda: _chain(FileNotFoundError("u"), socket.gaierror(-2, "n")), Cause.NO_HOST),
        (lambda: _chain(OSError(16, "m"), _botocore(503, "SlowDown")), Cause.BUSY),
        (lambda: _chain(PermissionError("m"), _botocore(403, "AccessDenied")), Cause.DENIED),
        (lambda: _chain(PermissionError("m"), _botocore(400, "ExpiredToken")), Cause.EXPIRED),
        (lambda: _chain(OSError(22, "m"), _botocore(400, "400")), Cause.EXPIRED),
        (
            lambda: _chain(PermissionError("m"), _botocore(403, "InvalidAccessKeyId")),
            Cause.NO_LOGIN,
        ),
        (lambda: _chain(FileNotFoundError("m"), _botocore(404, "NoSuchBucket")), Cause.MISSING),
        (lambda: TimeoutError(), Cause.TIMEOUT),
        (lambda: _chain(FileNotFoundError("u"), ConnectionResetError(104, "r")), Cause.CUT),
        (lambda: _chain(OSError("m"), IncompleteRead(b"x", 3)), Cause.CUT),
        (lambda: FileNotFoundError("u"), Cause.MISSING),
        (lambda: PermissionError("u"), Cause.DENIED),
        (lambda: ValueError("u"), Cause.OTHER),
        (lambda: OSError(5, "Input/output error"), Cause.OTHER),
    ],
)
def test_cause_behind_what_is_raised(make: Callable[[], BaseException], cause: Cause) -> None:
    error = make()
    assert find_cause(error) is cause
    told = storage_error(error, "s3://bucket/a.tar", "read")
    assert "s3://bucket/a.tar" in str(told)
    assert len(str(told).splitlines()) == 1
    if cause is not Cause.OTHER:
        assert is_transient(error) == cause.passing == is_transient(told)


def test_the_login_that_helps_depends_on_the_store() -> None:
    error = _chain(PermissionError("m"), _botocore(400, "ExpiredToken"))
    assert "AWS_PROFILE" in reason(error, "s3://bucket/a.tar")
    assert "gcloud auth" in reason(error, "gs://bucket/a.tar")
    assert "HF_TOKEN" in reason(error, "hf://datasets/a/b")


def test_what_the_server_asks_to_wait_is_waited_within_reason() -> None:
    backoff = Backoff(longest=5.0)
    busy = _chain(FileNotFoundError("u"), _aiohttp(503))
    assert wait_before_retry(busy, 1.0, backoff) == 3.0
    assert wait_before_retry(busy, 4.0, backoff) == 4.0
    assert wait_before_retry(_botocore(503, "SlowDown"), 1.0, backoff) == 5.0
    assert wait_before_retry(OSError(5, "m"), 1.0, backoff) == 1.0
