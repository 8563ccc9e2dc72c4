"""The demo's photographs and their captions."""

from __future__ import annotations

import pytest

pytest.importorskip("skimage", reason="the demo's photographs come with scikit-image")
pytest.importorskip("sklearn", reason="the demo's photographs come with scikit-learn")
from pairsift.demo.photos import PHOTOS, captions


def test_every_photo_has_four_different_captions() -> None:
    by_photo: dict[str, set[str]] = {}
    for photo, _, caption in captions():
        by_photo.setdefault(photo.name, set()).add(caption)
    assert len(by_photo) == len(PHOTOS) >= 10
    assert all(len(texts) == 4 for texts in by_photo.values())
