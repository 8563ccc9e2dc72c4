"""The feature encoder: shapes, padding, and folding of the published weights."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from pairsift.errors import PairsiftError  # noqa: E402
from pairsift.scorers.mlm.lite import (  # noqa: E402
    FEATURE_WIDTHS,
    Lite2,
    SameConv,
    SecondEnd,
    fold_checkpoint,
    normalize,
)


def unfolded_checkpoint() -> dict[str, torch.Tensor]:
    """Random tensors with the names and shapes of the published checkpoint."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = torch.rand(width, generator=generator) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=generator) * 0.1
        state[f"{name}.running_mean"] = torch.randn(width, generator=generator) * 0.1
        state[f"{name}.running_var"] = torch.rand(width, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def conv(name: str, weight: torch.Tensor, norm_name: str) -> None:
        state[f"{name}.weight"] = torch.randn(weight.shape, generator=generator) * 0.1
        norm(norm_name, len(weight))

    model = Lite2()
    conv("_conv_stem", model.stem.weight, "_bn0")
    for index, block in enumerate(model.blocks):
        name = f"_blocks.{index}"
        if block.expand is not None:
            conv(f"{name}._expand_conv", block.expand.weight, f"{name}._bn0")
        conv(f"{name}._depthwise_conv", block.depthwise.weight, f"{name}._bn1")
        conv(f"{name}._project_conv", block.project.weight, f"{name}._bn2")
    conv("_conv_head", model.head.weight, "_bn1")
    state["_fc.weight"] = torch.randn(1000, 1280, generator=generator)
    state["_fc.bias"] = torch.randn(1000, generator=generator)
    return state


@pytest.mark.parametrize("kind", [Lite2, SecondEnd])
def test_weights_that_are_kept_rounded_compute_the_same(kind: type[Lite2 | SecondEnd]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    x = torch.randn(1, 3, 64, 64) if kind is Lite2 else torch.randn(1, 120, 4, 4)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before = model(x)
        model.round_to(torch.bfloat16)
        after = model(x)
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    sizes = [(w.numel(), w.dtype) for w in model.parameters() if w.ndim == 4]
    assert sum(size for size, dtype in sizes if dtype == torch.float32) < 0.1 * sum(
        size for size, _ in sizes
    )


def test_maps_have_the_documented_shapes() -> None:
    pixels = torch.zeros(2, 260, 260, 3, dtype=torch.uint8)
    with torch.inference_mode():
        maps = Lite2().eval()(normalize(pixels))
    assert [m.shape[1] for m in maps] == list(FEATURE_WIDTHS)
    assert [tuple(m.shape[2:]) for m in maps] == [(33, 33), (17, 17), (9, 9)]


@pytest.mark.parametrize("behind", [8, 16])
def test_a_second_end_begins_as_the_first_and_leaves_it_alone(behind: int) -> None:
    torch.manual_seed(0)
    encoder = Lite2().eval()
    pixels = torch.randint(0, 256, (1, 260, 260, 3), dtype=torch.uint8)
    end = SecondEnd.of(encoder, behind)
    with torch.inference_mode():
        early, middle, final = encoder(normalize(pixels))
        seen = {8: early, 16: middle}[behind]
        torch.testing.assert_close(encoder.map_at(behind, normalize(pixels)), seen)
        torch.testing.assert_close(end(seen), final)
    optimizer = torch.optim.SGD(end.parameters(), lr=0.1)
    end(seen.clone()).sum().backward()
    optimizer.step()
    with torch.inference_mode():
        assert not torch.allclose(end(seen), final)
        torch.testing.assert_close(encoder(normalize(pixels))[2], final)


def test_same_padding_puts_the_odd_pixel_right_and_below() -> None:
    conv = SameConv(1, 1, 3, stride=2)
    x = torch.randn(1, 1, 4, 4)
    by_hand = F.conv2d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, 2)
    torch.testing.assert_close(conv(x), by_hand)


def test_folded_weights_equal_convolution_then_batch_norm() -> None:
    state = unfolded_checkpoint()
    model = Lite2().eval()
    model.load_state_dict(fold_checkpoint(state))
    x = torch.randn(1, 3, 8, 8)
    norm = nn.BatchNorm2d(32, eps=1e-3).eval()
    norm.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("_bn0.")})
    by_hand = norm(F.conv2d(F.pad(x, (0, 1, 0, 1)), state["_conv_stem.weight"], None, 2))
    torch.testing.assert_close(model.stem(x), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_a_checkpoint_that_does_not_fit_is_named(change: str) -> None:
    state = unfolded_checkpoint()
    if change == "missing":
        name = "_blocks.3._project_conv.weight"
        del state[name]
    else:
        name = "_blocks.99._project_conv.weight"
        state[name] = torch.zeros(1)
    with pytest.raises(PairsiftError, match=name):
        fold_checkpoint(state)
