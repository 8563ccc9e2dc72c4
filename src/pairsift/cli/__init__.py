"""The command line: a thin shell over the functions of the package.

Each command imports what it needs when it runs, so that `pairsift --help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from pairsift.cli import (
    balance,
    demo,
    doctor,
    evaluate,
    explain,
    explore,
    prompts,
    report,
    run,
    score,
    select,
    status,
    teach,
    write,
)
from pairsift.errors import PairsiftError

USER_ERROR = 2

app = typer.Typer(
    help="Pick the image-text pairs worth training on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    demo,
    run,
    score,
    status,
    select,
    write,
    report,
    explore,
    explain,
    prompts,
    teach,
    balance,
    evaluate,
    doctor,
):
    module.register(app)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from pairsift import __version__

        typer.echo(f"pairsift {__version__}")
        raise typer.Exit


class _Terminated(BaseException):
    """SIGTERM, raised where the program stands, so that open files are dropped cleanly."""


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def main() -> None:
    """Entry point of the `pairsift` command.

    Exit codes: 0 done; 3 done but for shards that could not be read; 2 bad input or options, with
    one line on stderr; 130 and 143 stopped by SIGINT and SIGTERM, with everything finished kept.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(standalone_mode=False)  # what a command left with, not 0
    except PairsiftError as error:
        _stop(USER_ERROR, str(error))
    except typer.Abort:
        _stop(128 + signal.SIGINT, _STOPPED)
    except KeyboardInterrupt:
        _stop(128 + signal.SIGINT, _STOPPED)
    except _Terminated:
        _stop(128 + signal.SIGTERM, _STOPPED)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except Exception as error:
        if (show := getattr(error, "show", None)) is None:
            raise
        show()  # a usage error of the option parser
        sys.exit(getattr(error, "exit_code", USER_ERROR))
    if code:
        sys.exit(code)


_STOPPED = "stopped; what was finished is kept: run the same command again to go on"


def _stop(code: int, message: str) -> NoReturn:
    typer.echo(f"pairsift: {message}", err=True)
    sys.exit(code)
