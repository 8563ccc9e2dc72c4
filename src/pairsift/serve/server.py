"""The server process: open a socket, check the scorer, serve, and shut down gracefully."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.scorers.base import Scorer
from pairsift.serve.settings import ServeSettings

_BACKLOG = 512


@contextlib.contextmanager
def running_server(scorer: Scorer, settings: ServeSettings | None = None) -> Iterator[str]:
    """Run a server in the background of a `with` block.

    When the block ends, the server accepts no more connections and finishes its open requests
    within ``settings.grace`` seconds.

    Args:
        scorer: the scorer.
        settings: address and limits; None for the defaults of
            :class:`~pairsift.serve.settings.ServeSettings`.

    Yields:
        the address of the server, such as ``http://127.0.0.1:8000``.

    Raises:
        PairsiftError: the extra `serve` is not installed, the address cannot be used, or the
            scorer does not work.

    Examples:
        >>> import json, urllib.request
        >>> from pairsift import load_scorer
        >>> from pairsift.serve.settings import ServeSettings
        >>> with running_server(load_scorer("heuristics"), ServeSettings(port=0)) as address:
        ...     answer = urllib.request.urlopen(f"{address}/scorer").read()
        >>> json.loads(answer)["scorer"]
        'heuristics'
    """
    settings = settings or ServeSettings()
    try:
        import uvicorn

        from pairsift.serve.app import create_app
    except ImportError as error:
        raise PairsiftError(
            f"the server needs {error.name}: pip install 'pairsift[serve]'"
        ) from error
    # This logger reports every client's malformed form, which the client is told anyway.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    listening = _listen(settings)
    with contextlib.closing(listening):
        _try_out(scorer)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(scorer, settings),
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                limit_concurrency=settings.max_connections,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=math.ceil(settings.grace),
            )
        )
        # In a separate thread, uvicorn does not handle signals; here the caller does.
        thread = threading.Thread(
            target=server.run, args=([listening],), name="pairsift-serve", daemon=True
        )
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise PairsiftError("the server did not start; see the messages above")
                time.sleep(0.01)
            yield _url(settings.host, listening)
        finally:
            server.should_exit = True
            thread.join()


def serve(
    scorer: Scorer, settings: ServeSettings | None = None, ready: Callable[[str], None] = print
) -> None:
    """Run a server until Ctrl-C. `pairsift serve` also stops at SIGTERM.

    Args:
        scorer: the scorer.
        settings: address and limits; None for the defaults of
            :class:`~pairsift.serve.settings.ServeSettings`.
        ready: called with the server's address once it answers; prints it by default.

    Raises:
        PairsiftError: as :func:`running_server`.

    Examples:
        The example stops the server at once, as Ctrl-C does:

        >>> from pairsift import load_scorer
        >>> from pairsift.serve.settings import ServeSettings
        >>> def stop(address):
        ...     print(address.rpartition(":")[0])
        ...     raise KeyboardInterrupt
        >>> serve(load_scorer("heuristics"), ServeSettings(port=0), ready=stop)
        http://127.0.0.1
    """
    with running_server(scorer, settings) as url, contextlib.suppress(KeyboardInterrupt):
        ready(url)
        threading.Event().wait()


def _listen(settings: ServeSettings) -> socket.socket:
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PairsiftError(
            f"cannot listen on {settings.host} port {settings.port} ({why}); "
            "choose another --host or --port"
        ) from error


def _url(host: str, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _try_out(scorer: Scorer) -> None:
    """Score one image, so that too little device memory is noticed before the first request."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(file, "PNG")
    row = scorer.score([Pair("warm-up", file.getvalue(), "a grey square")]).to_pylist()[0]
    if row["status"] != Status.OK.value:
        raise PairsiftError(f"the scorer does not work: {row['error']}")
