"""A dozen types of transformers' list, one of each kind; `make test-models` tries them all."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import transformers

from tests.models import page, sweep

pytestmark = pytest.mark.usefixtures("one_thread")

TORCHVISION = find_spec("torchvision") is not None

#: By how they are read, and what is special about each.
TYPES = {
    "llava_next": "tree",  # an image in tiles
    "gemma3": "tree",  # sliding windows; an image's tokens see each other
    "paligemma": "tree",  # a prompt is read in both directions
    "qianfan_ocr": "cache",  # InternVL's processor
    "exaone4_5": "cache",  # Qwen's processor
    "glm4v": "cache",  # the same, and a processor that wants torchvision for videos
    "qwen3_5": "cache",  # linear attention
    "mllama": "cache",  # cross attention
    "granite_docling": "cache",  # rows and columns of tiles
    "paddleocr_vl": "cache",  # positions in three axes, remembered by the model
    "blip": "whole",  # no cache
    "t5gemma2": "whole",  # encoder and decoder
}


@pytest.mark.parametrize(
    "kind",
    [kind if kind == "gemma3" else pytest.param(kind, marks=pytest.mark.slow) for kind in TYPES],
)
def test_a_type_gives_what_brute_force_gives(kind: str) -> None:
    if kind not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} does not have it")
    result = sweep.try_type(kind, torchvision=TORCHVISION)
    assert not result.problem
    assert result.way == TYPES[kind]
    assert result.difference is not None
    assert result.difference <= sweep.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("way", ["prompt", "whole"])
def test_a_slower_way_gives_the_same(way: str) -> None:
    result = sweep.try_type("llava_next", torchvision=TORCHVISION, way=way)
    assert not result.problem
    assert result.way == way


def test_the_page_is_that_of_the_results() -> None:
    import json

    results = json.loads(page.RESULTS.read_text("utf-8"))
    assert page.PAGE.read_text("utf-8") == page.render(results)
    held = [one for one in results["types"] if not one["problem"]]
    assert len(held) >= 70
    assert all(one["difference"] <= sweep.TOLERANCE for one in held)
