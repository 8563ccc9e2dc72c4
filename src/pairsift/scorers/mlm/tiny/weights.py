"""The weight file of `pairsift-tiny`: safetensors with quantised matrices.

A matrix is stored with one scale per group of a row. The token embeddings, which are most of the
file and were not trained, have 4 bits with groups of 32; other matrices have 8 bits with whole
rows. Small tensors stay float32, convolutions float16. A quantised tensor `name` becomes `name.q8`
or `name.q4` (two values a byte, low half first) with `name.scale`, float16.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pairsift.errors import PairsiftError

FOUR_BIT = ("lm.embed_tokens.weight", "sentence.embeddings.word_embeddings.weight")
GROUP = 32
_SMALL = 8192  # elements; smaller tensors are not quantised


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise (rows, ...) to int8 of the same shape and float16 scales (rows, 1)."""
    flat = matrix.detach().float().flatten(1)
    scale = (flat.abs().amax(1, keepdim=True) / 127).clamp_min(1e-7).to(torch.float16)
    values = (flat / scale.float()).round().clamp(-127, 127).to(torch.int8)
    return values.view(matrix.shape), scale


def quantize_groups(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise (rows, columns) to packed 4-bit uint8 and scales (rows, columns / 32)."""
    rows, columns = matrix.shape
    groups = matrix.detach().float().view(rows, columns // GROUP, GROUP)
    # The value of largest magnitude maps to -8, because the range has one more step on that side.
    extreme = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    scale = extreme / -8
    scale = torch.where(scale.abs() < 1e-7, 1e-7, scale).to(torch.float16)
    values = (groups / scale.float()).round().clamp(-8, 7).view(rows, columns).to(torch.int16) + 8
    packed = (values[:, 0::2] | (values[:, 1::2] << 4)).to(torch.uint8)
    return packed, scale.squeeze(2)


def dequantize_rows(values: Tensor, scale: Tensor, room: Tensor | None = None) -> Tensor:
    """Return float32 of the shape of `values`, (..., columns), with a scale for each row.

    room: float32, at least as many values; they are overwritten, and the result is a view of them.
    """
    if room is None:
        room = torch.empty(values.numel(), dtype=torch.float32, device=values.device)
    found = room[: values.numel()].view(values.shape).copy_(values)
    found.flatten(0, -2).mul_(scale.float())
    return found


def dequantize_groups(packed: Tensor, scale: Tensor) -> Tensor:
    """Return float32 (rows, columns) from `quantize_groups`."""
    rows = len(packed)
    values = torch.stack([packed & 15, packed >> 4], dim=-1).to(torch.float32) - 8
    return (values.view(rows, -1, GROUP) * scale.float()[..., None]).view(rows, -1)


def write_tensors(path: Path, state: Mapping[str, Tensor], quantize: bool) -> None:
    """Write a state dict; with `quantize`, in the form that the module docstring describes."""
    from safetensors.torch import save_file

    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if (
            not quantize
            or tensor.numel() < _SMALL
            or not tensor.is_floating_point()
            or name.endswith(".scale")  # of a weight that is quantised already
        ):
            stored[name] = tensor.detach().clone().contiguous()
        elif tensor.ndim == 4:
            stored[name] = tensor.detach().to(torch.float16).contiguous()
        elif name in FOUR_BIT and tensor.shape[1] % GROUP == 0:
            stored[f"{name}.q4"], stored[f"{name}.scale"] = quantize_groups(tensor)
        else:
            flat = tensor.flatten(0, -2)
            values, stored[f"{name}.scale"] = quantize_rows(flat)
            stored[f"{name}.q8"] = values.view(tensor.shape)
    save_file(stored, str(path))


def read_tensors(path: Path, keep: Container[str] = ()) -> dict[str, Tensor]:
    """Return the tensors of a file from `write_tensors`, float32.

    Args:
        keep: names in the file of quantised values that are returned as they are, with their scale.

    Raises:
        PairsiftError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            mapped = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise PairsiftError(f"{path}: cannot read the weights: {error}") from error
    tensors: dict[str, Tensor] = {}
    for name, tensor in mapped.items():
        base, _, form = name.rpartition(".")
        scale = f"{base}.scale"
        if name in keep:
            tensors[name], tensors[scale] = tensor.clone(), mapped[scale].clone()
        elif form == "q8":
            tensors[base] = dequantize_rows(tensor, mapped[scale])
        elif form == "q4":
            tensors[base] = dequantize_groups(tensor, mapped[scale])
        elif form != "scale":
            dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
            # A tensor that is no copy would keep the whole file in memory.
            tensors[name] = tensor.to(dtype, copy=True)
    return tensors
