"""Image preparation, against transformers' own processors and against arithmetic."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from pairsift.errors import PairsiftError
from pairsift.scorers.image_recipe import ImageRecipe
from tests.samples import picture

CLIP = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
SIGLIP = SiglipImageProcessorPil(size={"height": 48, "width": 48})


def values(recipe: ImageRecipe, image: Image.Image, **options: bool) -> np.ndarray:
    pixels = recipe(image, **options)
    assert pixels.dtype == np.uint8
    assert pixels.shape[:2] == recipe.output_size[::-1]
    return np.stack([recipe.table[channel][pixels[..., channel]] for channel in range(3)])


@pytest.mark.parametrize("processor", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_same_floats_as_transformers(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    recipe = ImageRecipe.read(tmp_path)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    for size in ((48, 48), (48, 80), (80, 48)) if processor is CLIP else ((48, 48), (48, 80)):
        image = picture(*size)  # only one pass of resizing, so that its order does not matter
        expected = processor(image, return_tensors="np")["pixel_values"][0]
        assert (values(recipe, image) == expected).all(), size


@pytest.mark.parametrize("processor", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_width_first_then_height(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    recipe = ImageRecipe.read(tmp_path)
    image = picture(200, 90)
    width = 106 if processor is CLIP else 48
    wide = image.resize((width, 90), Image.Resampling(processor.resample))
    resized = np.asarray(wide.resize((width, 48), Image.Resampling(processor.resample)))
    left = (width - 48) // 2
    assert (recipe(image) == resized[:, left : left + 48]).all()


def whole_then_cropped(recipe: ImageRecipe, image: Image.Image) -> np.ndarray:
    method, (width, height) = Image.Resampling(recipe.resample), image.size
    short, long = sorted(image.size)
    assert recipe.shortest_edge is not None
    longer = int(recipe.shortest_edge * long / short)
    size = (longer, recipe.shortest_edge) if width > height else (recipe.shortest_edge, longer)
    resized = image.resize((size[0], height), method).resize(size, method)
    assert recipe.crop is not None
    left, top = ((length - kept) // 2 for length, kept in zip(size, recipe.crop, strict=True))
    box = (left, top, left + recipe.crop[0], top + recipe.crop[1])
    return np.asarray(resized.crop(box))


def test_leaving_out_what_the_crop_cuts_off_changes_no_pixel():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        width, height = (int(2 ** rng.uniform(0, 8)) for _ in range(2))
        if max(width, height) > 64 * min(width, height):
            continue
        edge, resample = int(rng.choice([16, 48])), int(rng.integers(6))
        crop = (edge, edge)
        if rng.random() < 0.3:
            crop = (int(rng.integers(1, 2 * edge)), int(rng.integers(1, 2 * edge)))
        recipe = ImageRecipe(edge, None, crop, resample, 1 / 255, (0.0,) * 3, (1.0,) * 3)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        expected = whole_then_cropped(recipe, image)
        assert np.array_equal(recipe(image), expected), (image.size, recipe)


@pytest.mark.parametrize("size", [(90, 30), (30, 90), (31, 90)])
def test_square_padding(size, tmp_path):
    SIGLIP.save_pretrained(tmp_path)
    recipe = ImageRecipe.read(tmp_path)
    image = picture(*size)
    square = Image.new("RGB", (90, 90), (127, 127, 127))
    square.paste(image, ((90 - size[0]) // 2, (90 - size[1]) // 2))
    assert recipe.mean_colour == (127, 127, 127)
    assert (recipe(image, pad_to_square=True) == recipe(square)).all()


def test_clip_mean_colour(tmp_path):
    CLIP.save_pretrained(tmp_path)
    assert ImageRecipe.read(tmp_path).mean_colour == (122, 116, 104)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1), (30_000, 12), (12, 30_000)])
@pytest.mark.parametrize("pad_to_square", [True, False])
def test_banners_do_not_fill_the_memory(size, pad_to_square, tmp_path):
    import resource

    for processor in (CLIP, SIGLIP):
        processor.save_pretrained(tmp_path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert ImageRecipe.read(tmp_path)(Image.new("RGB", size), pad_to_square).shape == (
            48,
            48,
            3,
        )
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000


def test_images_smaller_than_the_crop_stand_on_black():
    recipe = ImageRecipe.from_dict(
        {"do_resize": False, "do_center_crop": True, "crop_size": 8, "do_normalize": False}, "here"
    )
    pixels = recipe(Image.new("RGB", (4, 8), (9, 9, 9)))
    assert (pixels[:, 2:6] == 9).all()
    assert not pixels[:, [0, 1, 6, 7]].any()


@pytest.mark.parametrize(
    "raw",
    [
        {"size": {"longest_edge": 3}},
        {"size": {"shortest_edge": 3}, "do_center_crop": False},
        {"size": {"height": 3, "width": 3}, "image_mean": [0.5]},
        {"size": {"height": 3, "width": 3}},
    ],
)
def test_what_is_not_known_is_refused(raw, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(raw))
    with pytest.raises(PairsiftError, match=r"preprocessor_config\.json"):
        ImageRecipe.read(tmp_path)


def test_nothing_to_read(tmp_path):
    with pytest.raises(PairsiftError, match="has no preprocessor_config"):
        ImageRecipe.read(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(PairsiftError, match="not readable JSON"):
        ImageRecipe.read(tmp_path)


def test_newer_processor_config(tmp_path):
    raw = {"image_processor": SIGLIP.to_dict(), "processor_class": "SiglipProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(raw, default=str))
    assert ImageRecipe.read(tmp_path).size == (48, 48)


def test_no_torch_in_the_workers(tmp_path):
    import subprocess
    import sys

    code = "import sys, pairsift.scorers.image_recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("processor", [CLIP, SIGLIP], ids=["clip", "siglip"])
def test_torch_resizes_like_pillow_but_for_rounding(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    recipe = ImageRecipe.read(tmp_path)
    fast = recipe.resized_by("torch")
    for size in ((200, 90), (90, 200), (48, 48), (31, 40), (640, 480)):
        image = picture(*size)
        plain, other = recipe(image).astype(int), fast(image).astype(int)
        assert plain.shape == other.shape
        assert np.abs(plain - other).max() <= 2, size
        assert (plain != other).mean() < 0.02, size
    assert recipe.resized_by("pillow").digest == recipe.digest != fast.digest
    assert pickle.loads(pickle.dumps(fast)) == fast


def test_other_resizers_and_filters_are_refused():
    plain = {"size": {"height": 8, "width": 8}, "do_normalize": False}
    recipe = ImageRecipe.from_dict(plain, "x.json")
    with pytest.raises(PairsiftError, match="resize is 'opencv'; it is one of pillow, torch"):
        recipe.resized_by("opencv")
    lanczos = ImageRecipe.from_dict(plain | {"resample": 1}, "x.json")
    with pytest.raises(PairsiftError, match="has no lanczos filter.*use resize=pillow"):
        lanczos.resized_by("torch")
