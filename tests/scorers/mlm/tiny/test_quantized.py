"""Quantised layers compute with the same numbers as float32 ones, in a third of the memory."""

from __future__ import annotations

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pairsift.demo.photos import PHOTOS
from pairsift.errors import PairsiftError
from pairsift.images import decode_image
from pairsift.scorers.mlm.tiny.captions import collate
from pairsift.scorers.mlm.tiny.inputs import CaptionTokenizer
from pairsift.scorers.mlm.tiny.model import TinyModel
from pairsift.scorers.mlm.tiny.quantized import (
    QuantizedEmbedding,
    QuantizedLinear,
    quantized_layers,
)
from pairsift.scorers.mlm.tiny.scorer import ASSET
from pairsift.scorers.mlm.tiny.weights import (
    dequantize_groups,
    dequantize_rows,
    quantize_groups,
    quantize_rows,
)
from pairsift.scorers.placement import check_bfloat16


@pytest.fixture(scope="module")
def exact() -> TinyModel:
    return TinyModel.from_pretrained(ASSET)


@pytest.fixture(scope="module")
def packed() -> TinyModel:
    return TinyModel.from_pretrained(ASSET, quantized=True)


def tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def mebibytes(model: nn.Module) -> float:
    return sum(t.numel() * t.element_size() for t in tensors(model)) / 2**20


def logits(model: TinyModel) -> Tensor:
    """Logits of photographs with their own and others' captions."""
    tokenizer = CaptionTokenizer(ASSET, model.config.max_caption_tokens)
    photos = PHOTOS[:3]
    captions = [photo.right for photo in photos] + [photo.right for photo in reversed(photos)]
    pixels = [model.preprocess(decode_image(photo.read())[0]) for photo in photos]
    with torch.inference_mode():
        images = model.encode_images(torch.stack([torch.from_numpy(p.copy()) for p in pixels]))
        return model.score_logits(images.repeat(2, 1, 1), collate(list(map(tokenizer, captions))))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_of_photographs_are_those_of_float_layers(
    exact: TinyModel, packed: TinyModel, dtype: torch.dtype
) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    if dtype == torch.bfloat16:
        skip_without_bfloat16()
    for model in (exact, packed):
        model.computes_in = dtype
    try:
        torch.testing.assert_close(logits(packed), logits(exact), rtol=0, atol=1e-5)
    finally:
        exact.computes_in = packed.computes_in = torch.float32


def skip_without_bfloat16() -> None:
    try:
        check_bfloat16(torch.device("cpu"))
    except PairsiftError as error:
        pytest.skip(str(error))


def test_the_shipped_model_takes_a_third_of_the_memory(exact: TinyModel, packed: TinyModel) -> None:
    assert mebibytes(packed) < 120
    assert mebibytes(exact) > 3 * mebibytes(packed)
    # No tensor is a view of more, such as of the file.
    assert sum(t.untyped_storage().nbytes() for t in tensors(packed)) < 120 * 2**20


def test_every_large_matrix_of_a_layer_is_quantised(packed: TinyModel) -> None:
    left = [name for name, value in packed.named_parameters() if value.ndim == 2]
    for name in left:
        assert packed.get_parameter(name).numel() < 500_000, name


def test_a_quantised_model_is_saved_as_it_was_read(packed: TinyModel, tmp_path: Path) -> None:
    packed.save_pretrained(tmp_path, version="test")
    before, after = (load_file(folder / "model.safetensors") for folder in (ASSET, tmp_path))
    assert before.keys() == after.keys()
    names = {name for name in before if name.endswith(("weight.q8", ".q4"))}
    assert len(names) > 80
    for name in names - {"sentence.embeddings.position_embeddings.weight.q8"}:
        assert torch.equal(before[name], after[name]), name
        scale = name[:-2] + "scale"
        assert torch.equal(before[scale], after[scale]), name
    again = TinyModel.from_pretrained(tmp_path, quantized=True)
    assert mebibytes(again) == mebibytes(packed)


@pytest.mark.slow
def test_all_tensors_move_with_the_model(packed: TinyModel) -> None:
    moved = copy.deepcopy(packed).to("meta")
    assert all(tensor.is_meta for tensor in tensors(moved))
    ids = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    assert moved.lm.embed_tokens(ids).shape == (2, 5, moved.config.width)
    assert moved.judge_map(torch.zeros(2, moved.config.meaning, device="meta")).is_meta


@pytest.mark.slow
def test_a_file_without_quantised_weights_keeps_its_layers(
    exact: TinyModel, tmp_path: Path
) -> None:
    exact.save_pretrained(tmp_path, version="test", quantize=False)
    loaded = TinyModel.from_pretrained(tmp_path, quantized=True)
    assert not [m for m in loaded.modules() if isinstance(m, QuantizedLinear | QuantizedEmbedding)]
    assert loaded.state_dict().keys() == exact.state_dict().keys()


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_converted_in_blocks_is_the_layer(bias: bool) -> None:
    layer = nn.Linear(2**17, 19, bias=bias)  # 8 rows in a block
    values, scale = quantize_rows(layer.weight)
    made = quantized_layers(nn.Sequential(layer))["0.weight.q8"][1]
    made.load_state_dict(
        {"weight.q8": values, "weight.scale": scale} | ({"bias": layer.bias} if bias else {})
    )
    x = torch.randn(2, 3, 2**17)
    with torch.no_grad():
        layer.weight.copy_(dequantize_rows(values, scale))
        torch.testing.assert_close(made(x), layer(x), rtol=1e-5, atol=1e-5)


def test_layers_may_compute_in_several_threads() -> None:
    layers = [nn.Linear(2**10, 2**10) for _ in range(4)]
    made = nn.Sequential(*layers)
    for name, (place, layer) in quantized_layers(made).items():
        weight = made.get_parameter(name.removesuffix(".q8"))
        values, scale = quantize_rows(weight)
        with torch.no_grad():
            weight.copy_(dequantize_rows(values, scale))
        state = {"weight.q8": values, "weight.scale": scale}
        layer.load_state_dict(state | {"bias": made.get_parameter(f"{place}.bias")})
        layers[int(place)] = layer
    x = torch.randn(2, 2**10)

    def differs(place: int) -> bool:
        with torch.inference_mode():
            wanted = made[place](x)
            return any((layers[place](x) - wanted).abs().max() > 1e-4 for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert not any(pool.map(differs, range(4)))


def test_an_embedding_converts_the_rows_looked_up() -> None:
    embedding = nn.Embedding(50, 96)
    values, scale = quantize_groups(embedding.weight)
    name, made = quantized_layers(nn.Sequential(embedding))["0.weight.q4"]
    assert name == "0"
    made.load_state_dict({"weight.q4": values, "weight.scale": scale})
    ids = torch.tensor([[3, 49, 3], [0, 7, 1]])
    assert torch.equal(made(ids), dequantize_groups(values, scale)[ids])


@pytest.mark.slow
def test_loading_the_scorer_imports_neither_transformers_nor_pytorchs_compiler() -> None:
    code = (
        "import sys; from pairsift import load_scorer\n"
        "load_scorer('pairsift-tiny', device='cpu')\n"
        "print([m for m in ('transformers', 'torch._dynamo', 'sympy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
