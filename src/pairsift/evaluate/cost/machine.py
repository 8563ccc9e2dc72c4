"""The machine's speed and name, measured in this process."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_TRIES = 10


def seconds_of(
    run: Callable[[], object],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the seconds that a call takes, including the work it started on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - begin


def matmul_peak(
    device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return FLOP per second of the best of ten square matrix products."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device).to(dtype)
    seconds = [seconds_of(lambda: torch.mm(a, a), device, clock) for _ in range(_TRIES)]
    return float(2 * side**3 / min(seconds))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of CPU threads inside a `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        facts = Path("/proc/cpuinfo").read_text()
        return facts.split("model name")[1].split("\n")[0].strip("\t :")
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
