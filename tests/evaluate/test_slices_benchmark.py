"""`benchmarks/slices.py` on a small folder of the same form as the real data."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("scipy")

from benchmarks.slices import IMAGES, TRANSLATED, domains, main
from tests.samples import jpeg, tar_bytes

LANGUAGES = ("en", "zh", "de", "fr", "cs")
COUNT = 12
TRAINED = "trained.jpg"


def _kept_aside(domain: str, count: int) -> list[str]:
    """Names of pictures of a domain that are not trained on."""
    names = (f"{domain}__{n}.jpg" for n in itertools.count())
    return list(itertools.islice((n for n in names if domains.is_dev(n, domain)), count))


DOCUMENTATION, CLIP_ART = sorted(_kept_aside("documentation", 2)), _kept_aside("clipart", COUNT)


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def _tar(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes((name, jpeg(32, 24, seed)) for seed, name in enumerate(names)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    photos = [f"{n}.jpg" for n in range(COUNT)]
    _tar(folder / IMAGES[0], photos)
    test = {"split": "test"}
    numbers = [(name, number) for name in photos for number in (0, 1)]
    _table(
        folder / "flickr8k/captions_english.parquet",
        [
            {"image_file": name, "caption_number": number,
             "caption_english": f"Dog {name} {number} ."} | test
            for name, number in numbers
        ]
        + [{"image_file": "t.jpg", "caption_number": 0, "caption_english": "x", "split": "train"}],
    )  # fmt: skip
    _table(
        folder / "flickr8k/captions_chinese.parquet",
        [
            {"image_file": name, "caption_number": number, "how_written": how,
             "caption_chinese": f"{how[0]} 狗 {name} {number}"} | test
            for name, number in numbers
            for how in (TRANSLATED, "written by native Chinese speakers from the image")
        ],
    )  # fmt: skip
    _table(
        folder / "flickr8k/captions_english_german_french_czech_multi30k.parquet",
        [
            # Spaced otherwise than Flickr8k's own copy.
            {"image_file": name, "caption_english": f"dog {name} 1.",
             "caption_german": f"Hund {name}", "caption_french": f"Chien {name}",
             "caption_czech": f"Pes {name}"} | test
            for name in photos
        ],
    )  # fmt: skip
    judged = ["image_file,caption_source_image_file,caption_number,yes_fraction"]
    for n, (name, number) in enumerate(numbers):
        judged.append(f"{photos[n % COUNT]},{name},{number},{(n % 4) / 3}")
    with gzip.open(folder / "flickr8k/human_judgments_crowdflower.csv.gz", "wt") as file:
        file.write("\n".join(judged) + "\n")

    stamps = [f"animals__{n}.jpg" for n in range(60)] + ["symbols__a.jpg", CLIP_ART[0]]
    _tar(folder / IMAGES[1], stamps)
    _table(
        folder / "tuxpaint_stamps/captions_multilingual.parquet",
        [
            {"image_file": name, "language": language, "caption": f"{language} {name}",
             "category": "symbols/alphabets/x" if name.startswith("symbols") else "animals"}
            for name in stamps for language in ("en", "sv")
        ],
    )  # fmt: skip
    a, b = DOCUMENTATION
    _tar(folder / IMAGES[2], [a, b, TRAINED])
    (folder / "documentation_alt_text/alt_text.csv").write_text(
        "image_file,alt_text,page_path\n"
        f"{a},A chart,README.md\n{a},A chart,other.md\n{b},A tree,README.md\n"
        f"{a},Ein Diagramm,_articles/de/x.md\n{TRAINED},A tree,README.md\n"
    )
    _tar(folder / IMAGES[3], [*CLIP_ART, TRAINED])
    (folder / "openclipart/alt_text.csv").write_text(
        "image_file,alt_text_from_original_file_name\n"
        + "".join(f"{name},hammer_{n}\n" for n, name in enumerate([*CLIP_ART, TRAINED]))
    )
    _table(
        folder / IMAGES[4],
        [
            {"image_file": f"test/{n}.jpg", "class_name": ("dress", "hat")[n % 2],
             "image_jpeg": jpeg(24, 32, n)}
            for n in range(COUNT)
        ],
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_tables_and_measures(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = [
        *("--data", str(data), "--out", str(out), "--scorer", "heuristics", "--resamples", "20"),
        *("--columns", "caption_characters"),
    ]
    main(asked)
    rows = pq.read_table(out / "captions.parquet").to_pylist()
    slices: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        slices.setdefault((row["domain"], row["language"]), []).append(row["image"])
    assert {language for domain, language in slices if domain == "flickr8k"} == set(LANGUAGES)
    # The one caption of each image that Multi30k translates, and no other.
    assert {r["caption"] for r in rows if r["language"] == "zh"} == {
        f"h 狗 {n}.jpg 1" for n in range(COUNT)
    }
    held_out = slices["stamps", "sv"]
    assert held_out == slices["stamps", "en"]
    assert 0 < len(held_out) < 60
    assert all(domains.is_held_out(name) and name.startswith("animals") for name in held_out)
    assert sorted(slices["documentation", "en"]) == DOCUMENTATION
    assert slices["documentation", "de"] == DOCUMENTATION[:1]
    assert sorted(slices["openclipart", ""]) == sorted(f"images_1000/{n}" for n in CLIP_ART)
    assert len(slices["clothing", "en"]) == COUNT

    pairs = json.loads((out / "pairs" / "result.json").read_text())
    measured = {part["value"]: part for part in pairs["slices"]}
    assert measured["flickr8k / zh"]["columns"][0]["n"] == COUNT
    assert measured["documentation / en"]["columns"] == []
    # A picture alone in its slice has no caption that could be wrong for it.
    assert pairs["left_out"] == {"no other caption in the slice": 1}
    human = json.loads((out / "human" / "result.json").read_text())
    by_language = {part["value"]: part["judgments"] for part in human["slices"]}
    assert by_language == dict.fromkeys(LANGUAGES, COUNT)

    main([*asked, "--seed", "0"])
    again = json.loads((out / "pairs" / "result.json").read_text())
    assert again["columns"] == pairs["columns"]
    assert again["scorers"]["heuristics"]["scored_now"] == 0
