"""A small scored set with photographs, hostile captions and failures, made once."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsift.pair import Status
from pairsift.scorers.scope import Scope
from tests.report.scored import make_pool
from tests.score_folders import score_folder, score_table, write_tar

HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=https://example.org/x.png onerror=\"document.title='owned'\">",
    "</script></style><!-- {{ 7*7 }} --> &amp; \"quoted\" 'too'",
    "\u202ereversed \u2066without an end",
    "NUL \0 and bell \a and half a pair \ud83d",
    "line\u2028separator and \ufffe no character",
    "word " * 2000,
)


@dataclass(frozen=True)
class Scored:
    """A score folder, the captions behind it by key, and its scores by key."""

    scores: str
    captions: dict[str, str]
    itm: dict[str, float]


def photo(seed: int) -> bytes:
    """A JPEG with some colour in it."""
    ramp = np.linspace(0, 255, 96)
    pixels = np.stack(
        np.broadcast_arrays(ramp[None, :], ramp[::-1, None], np.float64(seed * 37 % 256)), axis=-1
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return make_scored(tmp_path_factory.mktemp("scored"))


def make_scored(folder: Path, shards: int = 3, rows: int = 30) -> Scored:
    """Tars and score tables of `shards` times `rows` pairs; every tenth image is corrupt."""
    rng = np.random.default_rng(7)
    captions: dict[str, str] = {}
    itm: dict[str, float] = {}
    tables = {}
    facts = {}
    for shard in range(shards):
        name = f"{shard:08d}"
        keys = [f"{shard:04d}{row:05d}" for row in range(rows)]
        members, statuses = [], []
        for row, key in enumerate(keys):
            place = shard * rows + row
            corrupt = row % 10 == 9
            caption = HOSTILE[row] if row < len(HOSTILE) else f"A gradient, number {place}"
            captions[key] = caption
            statuses.append(Status.IMAGE_CORRUPT if corrupt else Status.OK)
            members.append((f"{key}.jpg", b"no image" if corrupt else photo(place)))
            members.append((f"{key}.txt", caption.encode("utf-8", "replace")))
        write_tar(folder / "shards" / f"{name}.tar", members)
        scores = {
            # Whole and quarter numbers: many values stand exactly on a bin's edge.
            "itm": (rng.integers(0, 401, rows) / 4).tolist(),
            "odf": (rng.random(rows) * 100).tolist(),
            "clip_score": (rng.integers(0, 41, rows) / 100).tolist(),
            "language": [("en", "de<b>", "fr")[row % 3] for row in range(rows)],
        }
        itm.update(
            (key, score)
            for key, score, status in zip(keys, scores["itm"], statuses, strict=True)
            if status is Status.OK
        )
        tables[name] = score_table(name, keys, scores, statuses=statuses)
        facts[name] = {"seconds": 2.0, "finished_at": "2026-01-01T00:00:00+00:00"}
    facts[max(facts)]["source_error"] = "cut off <here>"
    root = folder / "shards"
    return Scored(score_folder(folder / "scores", tables, root=root, facts=facts), captions, itm)


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Scores of 40 pairs, one of four in a language that the scorer was not trained for."""
    folder = tmp_path_factory.mktemp("marked")
    rng = np.random.default_rng(3)
    languages = ["de" if row % 4 == 0 else "en" for row in range(40)]
    scores = {
        "itm": (rng.random(40) * 100).tolist(),
        "language": languages,
        "out_of_scope": ["language" if name == "de" else None for name in languages],
    }
    statuses = [Status.IMAGE_MISSING if row in (4, 5) else Status.OK for row in range(40)]
    keys = [f"{row:03d}" for row in range(40)]
    table = score_table("a", keys, scores, statuses=statuses)
    scope = Scope(("en",), "photographs <of cats>", "anything else").to_json()
    return score_folder(folder / "scores", {"a": table}, facts={"a": {"scope": scope}})


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return make_pool(tmp_path / "pool")
