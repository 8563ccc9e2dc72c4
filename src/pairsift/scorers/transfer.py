"""Copies between host and device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

# The type of devices that copy while the host goes on; others give no guarantee for such copies.
_ASYNCHRONOUS = "cuda"


def pinned(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor in memory from which the device can copy by itself."""
    array = np.ascontiguousarray(array)
    return _pinned(torch.from_numpy(array if array.flags.writeable else array.copy()), device)


def to_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Copy to the device, behind what it has to do already."""
    host = values if isinstance(values, Tensor) else pinned(values, device)
    return _pinned(host, device).to(device, non_blocking=device.type == _ASYNCHRONOUS)


def to_host(tensors: Sequence[Tensor]) -> Callable[[], list[np.ndarray]]:
    """Begin to copy tensors of one device to the host.

    Returns:
        a function that waits for the copies and returns them.
    """
    device = tensors[0].device
    behind = device.type == _ASYNCHRONOUS
    copies = [tensor.to("cpu", non_blocking=behind) for tensor in tensors]  # into pinned memory
    copied = _event(device)

    def wait() -> list[np.ndarray]:
        if copied is not None:
            copied.synchronize()
        return [copy.numpy() for copy in copies]

    return wait


def _event(device: torch.device) -> torch.cuda.Event | None:
    """The end of what the device has to do by now; None if it has no queue."""
    if device.type != _ASYNCHRONOUS:
        return None
    event: torch.cuda.Event = torch.cuda.current_stream(device).record_event()
    return event


def _pinned(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type != _ASYNCHRONOUS or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()
