"""The command line: a thin layer over the functions of the package.

Each command imports what it needs when it runs, so that `pairsift --help` answers at once.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

import typer

from pairsift.cli import (
    balance,
    cascade,
    dedup,
    demo,
    doctor,
    evaluate,
    explain,
    explore,
    imports,
    prompts,
    report,
    run,
    score,
    select,
    serve,
    similarity,
    status,
    teach,
    train,
    write,
)
from pairsift.cli.common import warn
from pairsift.errors import PairsiftError
from pairsift.options import SERVE_GRACE_S
from pairsift.storage_errors import is_of_network, reason

USER_ERROR = 2

app = typer.Typer(
    help="Select the image-text pairs that are worth training on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    demo,
    run,
    cascade,
    score,
    imports,
    status,
    dedup,
    similarity,
    select,
    write,
    report,
    explore,
    explain,
    serve,
    prompts,
    teach,
    balance,
    train,
    evaluate,
    doctor,
):
    module.register(app)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from pairsift import __version__

        typer.echo(f"pairsift {__version__}")
        raise typer.Exit


class _StoppedBySignal(KeyboardInterrupt):
    """SIGINT or SIGTERM, raised in the running code so that open files are discarded."""


class _Signals:
    """Turns the first SIGINT or SIGTERM into an exception, and makes sure that the process then
    ends.

    Python runs signal handlers only between its own instructions, and some library calls take
    minutes. So a thread ends the process after a time limit; what is committed is not affected.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0

    def install(self) -> None:
        """Install the handlers; call it once, in the main thread."""
        watched, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        threading.Thread(
            target=self._end_in_time, args=(watched,), name="pairsift-signals", daemon=True
        ).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            # An ignored signal stays ignored, because shells do that for background jobs.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            raise _StoppedBySignal
        # Terminals, launchers and batch systems often send a signal twice at once; people wait.
        if time.monotonic() - self._since > _TWICE_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _end_in_time(self, watched: int) -> None:
        while (number := os.read(watched, 1)[0]) not in (signal.SIGINT, signal.SIGTERM):
            pass
        end = time.monotonic() + LIMIT_S
        for _ in range(_CALLS):
            time.sleep(_CALL_S)
            if self.received is None and signal.getsignal(number) == self._handle:
                # Another thread got it, and the main thread still waits in a blocking call.
                signal.pthread_kill(threading.main_thread().ident or 0, number)
        time.sleep(max(0.0, end - time.monotonic()))
        os.write(2, f"pairsift: {_STOPPED}\n".encode())
        os._exit(128 + number)

    def stop_if_received(self) -> None:
        """Exit if a signal was received."""
        if self.received is not None:
            _stop(128 + self.received, _STOPPED)


def main() -> None:
    """Entry point of the `pairsift` command.

    Exit codes: 0 success; 3 success except for shards that could not be read; 4 every pair that was
    tried failed; 2 bad input or options, with one line on stderr; 130 and 143 stopped by SIGINT and
    SIGTERM, with everything finished kept.
    """
    signals = _Signals()
    signals.install()
    _tell_inputs()
    try:
        code = app(standalone_mode=False)  # a command's exit code that is not 0
    except BaseException as error:
        # Any error, because libraries raise their own errors when they are interrupted.
        signals.stop_if_received()
        if isinstance(error, PairsiftError):
            _stop(error.exit_code, str(error))
        if isinstance(error, typer.Abort):  # the user answered a question with no
            _stop(USER_ERROR, "aborted")
        if isinstance(error, typer.Exit):
            sys.exit(error.exit_code)
        if (show := getattr(error, "show", None)) is None:
            if isinstance(error, Exception):
                if is_of_network(error):
                    _stop(USER_ERROR, f"a storage failed: {reason(error)}")
                _ask_for_report()
            raise
        show()  # wrong usage, from the option parser
        sys.exit(getattr(error, "exit_code", USER_ERROR))
    if code:
        signals.stop_if_received()  # the option parser turns it into an exit code
        sys.exit(code)


def command() -> NoReturn:
    """Run :func:`main` as a process, and end the process cleanly.

    Libraries (Arrow, DuckDB, storage clients) leave threads behind that may abort the process while
    the interpreter shuts down. So the registered exit functions run, the output is flushed, and the
    process ends without the rest of the shutdown.
    """
    code: int | str | None = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    status = code if isinstance(code, int) else int(code is not None)
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # joins threads, ends their pools
        atexit._run_exitfuncs()
    finally:
        os._exit(_flush() or status)


def _flush() -> int:
    """Flush the output; return 120, as Python does, if it cannot be written."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError:
        return _NOT_FLUSHED
    return 0


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"pairsift: {self.format(record)}", err=True)


def _tell_inputs() -> None:
    """Write to stderr what readers log about their inputs (lines, rows, what is left out)."""
    log = logging.getLogger("pairsift.inputs")
    log.handlers = [_ToStderr()]
    log.setLevel(logging.INFO)
    log.propagate = False


def _ask_for_report() -> None:
    """Say what to do with the traceback that follows; no user's mistake should end in one."""
    typer.echo(
        "pairsift: this is a defect, or a mistake that should have been explained. Please report "
        "it with the lines below and the output of `pairsift doctor --report`, which names no "
        "paths; the lines below do.",
        err=True,
    )


_NOT_FLUSHED = 120
_TWICE_S = 2.0
# How often, and after how many seconds, a signal is passed on to the main thread.
_CALLS, _CALL_S = 5, 0.2
# Longer than `pairsift serve` waits for its open requests, and within the 30 s that batch systems
# and clouds leave between SIGTERM and SIGKILL.
LIMIT_S = SERVE_GRACE_S + 10.0
_STOPPED = "stopped; what was finished is kept: run the same command again to continue"


def _stop(code: int, message: str) -> NoReturn:
    warn(message)
    sys.exit(code)
