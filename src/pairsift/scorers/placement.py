"""Choose a model's device and dtype."""

from __future__ import annotations

from pathlib import Path

import torch

from pairsift.errors import PairsiftError


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device; ``auto`` is the GPU if there is one.

    Raises:
        PairsiftError: there is no such device, or it is not available.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise PairsiftError(f"unknown device {device!r}: {error}") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise PairsiftError("device cuda was requested, but PyTorch sees no GPU")
    return chosen


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype; ``auto`` is bfloat16 on GPUs that support it, else float32.

    Raises:
        PairsiftError: it is not one of auto, float32, bfloat16, float16.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if dtype not in ("float32", "bfloat16", "float16"):
        raise PairsiftError(f"unknown dtype {dtype!r}; choose auto, float32, bfloat16 or float16")
    chosen: torch.dtype = getattr(torch, dtype)
    return chosen


def check_bfloat16(device: torch.device, cpu: Path = Path("/proc/cpuinfo")) -> None:
    """Refuse bfloat16 on a CPU that is known to compute it in software.

    Args:
        cpu: file in which Linux lists the instructions of the CPU; without it, nothing is refused.

    Raises:
        PairsiftError: the CPU has no instructions for bfloat16.
    """
    if device.type != "cpu" or not cpu.is_file():
        return
    if not {"avx512_bf16", "amx_bf16", "bf16"} & set(cpu.read_text().split()):
        raise PairsiftError(
            "dtype bfloat16: this CPU has no instructions for it (avx512_bf16, amx_bf16 or bf16 in "
            f"{cpu}), so it would be slower than float32; use --dtype float32"
        )
