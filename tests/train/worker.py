"""The command line in a process of its own that need not import everything anew."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

# Forked from a server that has imported the libraries, and has done nothing else.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pairsift.train.run", "pairsift.cli"])


def start(arguments: list[str], output: Path) -> ForkServerProcess:
    """Run `pairsift ARGUMENTS`; what it prints goes to a file."""
    process = _CONTEXT.Process(target=_run, args=(arguments, str(output)))
    process.start()
    return process


def _run(arguments: list[str], output: str) -> None:
    import torch

    from pairsift.cli import main

    torch.set_num_threads(1)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["pairsift", *arguments]
    main()
    sys.stdout.flush()
