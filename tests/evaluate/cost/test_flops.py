"""Operations counted by PyTorch against operations counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pairsift.evaluate.cost.flops import count_flops


@pytest.mark.slow
def test_products_convolutions_and_attention_count_and_the_rest_does_not() -> None:
    linear = nn.Linear(8, 16)
    assert count_flops(lambda: linear(torch.ones(3, 8))) == 2 * 3 * 8 * 16
    depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    assert count_flops(lambda: depthwise(torch.ones(2, 4, 5, 5))) == 2 * 2 * 4 * 5 * 5 * 9
    states = torch.ones(2, 3, 7, 4)  # batch, heads, length, width
    attention = count_flops(lambda: F.scaled_dot_product_attention(states, states, states))
    assert attention == 2 * 2 * (2 * 3 * 7 * 7 * 4)
    assert count_flops(lambda: F.gelu(states) + 1) == 0
