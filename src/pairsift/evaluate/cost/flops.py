"""Count the floating-point operations of matrix products, convolutions and attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_flops(run: Callable[[], object]) -> int:
    """Count the floating-point operations (multiplications and additions) in a call's matrix
    products.

    Convolutions and attention count as matrix products; element-wise operations are left out, as is
    usual. Padding counts, because it is computed.
    """
    cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={cpu_attention: _attention}) as counter:
        run()
    return int(counter.get_total_flops())


def _attention(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Count attention by the CPU's kernel, which PyTorch's counter does not know; shapes (B, heads,
    length, D).
    """
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])
