"""Layers whose weights stay quantised in memory, as they are in the weight file.

They take a quarter to a seventh of the memory of float32 layers, compute with the same numbers, and
are about as fast on a CPU. Their tensors have the names and forms that `tiny.weights` describes.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.scorers.mlm.tiny.weights import GROUP, dequantize_groups, dequantize_rows

_BLOCK = 2**20
"""Values of a weight that are converted at once; more do not fit into a CPU's cache."""


class _Room(threading.local):
    """Room for the converted values, one for each thread.

    Allocated anew for each use, it would leave the heap fragmented: 35 MiB more at the peak.
    """

    def __init__(self) -> None:
        with torch.inference_mode(False):  # a tensor made in that mode could not be used outside
            self.values = torch.empty(_BLOCK, dtype=torch.float32, device="cpu")


_room = _Room()


class _Weight(nn.Module):
    """Holds the two tensors of a quantised weight."""

    q8: Tensor
    q4: Tensor
    scale: Tensor

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


class QuantizedLinear(nn.Module):
    """A linear layer with an 8-bit weight, which is converted whenever it is used.

    Args:
        layer: the layer to replace; the new one has its shapes and bias, and no values.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        rows, columns = layer.weight.shape
        self.weight = _Weight(
            q8=torch.empty(rows, columns, dtype=torch.int8),
            scale=torch.empty(rows, 1, dtype=torch.float16),
        )
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = max(1, _BLOCK // x.shape[-1])
        values, scales = (torch.split(part, rows) for part in (self.weight.q8, self.weight.scale))
        biases = [None] * len(values) if self.bias is None else torch.split(self.bias, rows)
        room = _room.values if x.device == _room.values.device else None
        found = [
            F.linear(x, dequantize_rows(value, scale, room), bias)
            for value, scale, bias in zip(values, scales, biases, strict=True)
        ]
        return found[0] if len(found) == 1 else torch.cat(found, -1)


class QuantizedEmbedding(nn.Module):
    """An embedding with 4-bit values, of which only the rows looked up are converted.

    Args:
        layer: the embedding to replace; the new one has its shape, and no values.
    """

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        rows, columns = layer.weight.shape
        self.weight = _Weight(
            q4=torch.empty(rows, columns // 2, dtype=torch.uint8),
            scale=torch.empty(rows, columns // GROUP, dtype=torch.float16),
        )

    def forward(self, ids: Tensor) -> Tensor:
        flat, weight = ids.flatten(), self.weight
        return dequantize_groups(weight.q4[flat], weight.scale[flat]).view(*ids.shape, -1)


def quantized_layers(model: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """Make a quantised layer for each linear layer and embedding of a model.

    Returns:
        For each name that the weight would have in the file: the name of the layer to replace, and
        the layer to put there.
    """
    found: dict[str, tuple[str, nn.Module]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            found[f"{name}.weight.q8"] = name, QuantizedLinear(layer)
        elif isinstance(layer, nn.Embedding):
            found[f"{name}.weight.q4"] = name, QuantizedEmbedding(layer)
    return found
