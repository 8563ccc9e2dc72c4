"""What all models share: their windows, their limits, and logits that are not rounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pairsift.scorers.mlm.backbone import (  # noqa: E402
    PrefixCache,
    attention_windows,
    cache_name,
    linear_float32,
    text_limit,
)


@pytest.mark.parametrize(
    ("config", "windows"),
    [
        ({}, {"": None}),
        ({"sliding_window": 128}, {"": 128}),
        ({"sliding_window": 128, "layer_types": ["full_attention"]}, {"": None}),
        (
            {"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"]},
            {"full_attention": None, "sliding_attention": 128},
        ),
        ({"sliding_window": 9, "layer_types": ["sliding_attention"]}, {"sliding_attention": 9}),
    ],
)
def test_how_far_layers_look_back(config: dict[str, Any], windows: dict[str, Any]) -> None:
    assert attention_windows(SimpleNamespace(**config)) == windows


@pytest.mark.parametrize(
    ("positions", "tokenizer", "limit"),
    [(4096, 2048, 2048), (2048, int(1e30), 2048), (None, 512, 512), (0, 512, 512)],
)
def test_the_smaller_of_two_limits_counts(positions: Any, tokenizer: int, limit: int) -> None:
    config = SimpleNamespace(max_position_embeddings=positions)
    assert text_limit(config, SimpleNamespace(model_max_length=tokenizer)) == limit


def test_the_cache_has_the_name_that_the_model_gives_it() -> None:
    class Older:
        def forward(self, past_key_values: Any = None) -> None: ...

    class Newer:
        def forward(self, cache: Any = None) -> None: ...

    assert (cache_name(Older()), cache_name(Newer())) == ("past_key_values", "cache")  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_logits_are_summed_in_float32(dtype: str, bias: bool) -> None:
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    head = torch.nn.Linear(64, 50, bias=bias).to(kind)
    hidden = torch.randn(3, 64).to(kind)
    exact = hidden.double() @ head.weight.double().T
    exact = exact + head.bias.double() if bias else exact
    for autocast in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = linear_float32(hidden, head)
        assert found.dtype == torch.float32
        assert (found.double() - exact).abs().max() < 1e-5


def test_behind_a_frozen_prefix_tokens_see_it_and_leave_nothing() -> None:
    cache = PrefixCache()
    keys, values = torch.randn(2, 1, 4, 3, 8)
    cache.update(keys, values, 0)
    cache.freeze()
    more = torch.randn(1, 4, 2, 8)
    for _ in range(2):
        found, _ = cache.update(more, more, 0)
        assert torch.equal(found, torch.cat([keys, more], dim=2))
    assert cache.get_seq_length() == 3
