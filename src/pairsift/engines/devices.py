"""The devices of this machine on which scorer processes run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pairsift.errors import PairsiftError

_FORMS = "give all, GPU numbers such as 0,1,2, or cpu:N for N processes on the CPU"
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Device:
    """A device for one scorer process.

    Attributes:
        name: ``cuda:1``, or ``cpu (2 of 4)``.
        environment: variables with which a process sees this device only, and uses its share of
            the cores.
    """

    name: str
    environment: Mapping[str, str]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def find_devices(asked: str) -> tuple[Device, ...]:
    """Find the devices that ``--devices`` names.

    Args:
        asked: ``all`` for every GPU that PyTorch sees, or a list separated by commas of GPU numbers
            (``0`` or ``cuda:0``, as PyTorch counts them) and ``cpu:N``.

    Raises:
        PairsiftError: a device is unknown or named twice, or there is no such device.

    Examples:
        >>> [device.name for device in find_devices("cpu:1")]
        ['cpu (1 of 1)']
    """
    gpus: list[int] = []
    processes = 0
    for part in asked.split(","):
        match = re.fullmatch(r"(?:cuda:)?(?P<gpu>\d+)|cpu:(?P<cpu>[1-9]\d*)", part.strip())
        if match is None and asked.strip() != "all":
            raise PairsiftError(f"--devices {asked!r}: unknown device {part!r}; {_FORMS}")
        if match is not None and match["gpu"]:
            gpus.append(int(match["gpu"]))
        elif match is not None:
            processes += int(match["cpu"])
    if processes > cores():
        raise PairsiftError(
            f"--devices {asked}: {processes} processes on the CPU, but this run may use "
            f"{cores()} cores"
        )
    visible = [] if processes and not gpus else _visible_gpus()
    if asked.strip() == "all":
        gpus = list(range(len(visible)))
    if missing := [number for number in gpus if number >= len(visible)]:
        there = f"the GPUs 0 to {len(visible) - 1}" if visible else "no GPU"
        raise PairsiftError(
            f"--devices {asked}: there is no GPU {missing[0]}; PyTorch sees {there}"
        )
    if len(set(gpus)) < len(gpus):
        raise PairsiftError(f"--devices {asked}: a GPU is named twice; one process uses each")
    if not gpus and not processes:
        raise PairsiftError(
            f"--devices {asked}: PyTorch sees no GPU; give cpu:N for N processes on the CPU"
        )
    threads = _threads(len(gpus) + processes)
    found = [Device(f"cuda:{number}", {_VISIBLE: visible[number]} | threads) for number in gpus]
    for number in range(1, processes + 1):
        found.append(Device(f"cpu ({number} of {processes})", {_VISIBLE: ""} | threads))
    return tuple(found)


def _visible_gpus() -> list[str]:
    """Return the name of each GPU for the variable that selects it, in PyTorch's order."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get(_VISIBLE)
    return given.split(",")[:count] if given else [str(number) for number in range(count)]


def _threads(processes: int) -> dict[str, str]:
    """Divide the cores among the processes; a smaller number that the user has set stays."""
    share = max(1, cores() // processes)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return {"OMP_NUM_THREADS": given if given.isdigit() and int(given) < share else str(share)}
