"""Graded captions for every train and dev image, with the reference teacher's four targets.

    python training/candidates.py --data ../shared/data --weights WEIGHTS --cache CACHE

Reads the pooled image features (for visual neighbours), writes
`CACHE/{train,dev,coco}.captions.parquet` (one row per image and caption), `texts.npy` (sentence
embeddings of the train and dev captions and the alt texts) and `teacher.json` (the similarity
scale). Captions of test images are never read.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pairsift.teach import edits
from pairsift.teach.lexicon import SWAPS, stems, words
from pairsift.teach.reference import (
    BOILERPLATE,
    BRIEF,
    CLEAN,
    EDITED,
    NOISE,
    ORDER,
    OWN_AT_LEAST,
    PENALTY,
    VAGUE,
    Scale,
    looks,
    reference_similarity,
)

import domains
from teacher import odf_target, su_target
from weights import SentenceEncoder

SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("caption", pa.string()),
        ("kind", pa.string()),
        (
            "source",
            pa.int32(),
        ),  # row, among the own captions, of the caption it was made from; -1 for none
        *((name, pa.float32()) for name in ("itm", "odf", "ctq", "su")),
    ]
)


def read_captions(data: Path, split: str, names: list[str]) -> list[list[str]]:
    """Return the five captions of every image, in the order of `names`."""
    table = pq.read_table(
        data / "flickr8k/captions_english.parquet", filters=[("split", "=", split)]
    )
    own: dict[str, list[str]] = {name: [] for name in names}
    for row in table.select(["image_file", "caption_english"]).to_pylist():
        if row["image_file"] in own:
            own[row["image_file"]].append(row["caption_english"])
    return [own[name] for name in names]


class Builder:
    """Makes the candidate captions of one split's images."""

    def __init__(
        self,
        own: list[list[str]],
        vectors: np.ndarray,
        pooled: np.ndarray,
        alt: list[str],
        alt_vectors: np.ndarray,
        scale: Scale,
        frequency: dict[str, float],
    ) -> None:
        self.own, self.vectors, self.alt, self.alt_vectors = own, vectors, alt, alt_vectors
        self.scale, self.frequency = scale, frequency
        self.count = len(own)
        mean = vectors.mean(1)
        self.means = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        seen = pooled[:, : pooled.shape[1] // 2]
        seen = seen - seen.mean(0)
        self.seen = seen / np.linalg.norm(seen, axis=1, keepdims=True)

    def image(self, index: int, rng: np.random.Generator) -> list[dict[str, object]]:
        own, refs = self.own[index], self.vectors[index]
        mentioned = {w for text in own for w in words(text)}
        confirmed = stems(own)
        rows: list[dict[str, object]] = []

        def add(
            text: str,
            kind: str,
            itm: float,
            ctq: float,
            known: frozenset[str],
            source: int,
            wrong: frozenset[str] = frozenset(),
        ) -> None:
            rows.append(
                {
                    "image": index,
                    "caption": text,
                    "kind": kind,
                    "source": source,
                    "itm": itm,
                    "odf": odf_target(text, known, itm, wrong),
                    "ctq": ctq,
                    "su": su_target(text, self.frequency, itm),
                }
            )

        own_itm, others = [], []
        for number, text in enumerate(own):
            rest = np.delete(refs, number, axis=0)
            score = self.scale(float(reference_similarity(refs[number][None], rest)[0]))
            own_itm.append(max(score, OWN_AT_LEAST))  # it was written for this image
            others.append(stems([t for k, t in enumerate(own) if k != number]))
            add(edits.restyle(text, rng), "own", own_itm[-1], CLEAN, others[-1], number)

        def other(image: int, kind: str) -> None:
            number = int(rng.integers(5))
            text, vector = self.own[image][number], self.vectors[image][number]
            score = self.scale(float(reference_similarity(vector[None], refs)[0]))
            add(edits.restyle(text, rng), kind, score, CLEAN, confirmed, -1)

        near = np.argsort(-(self.means @ self.means[index]))[1:]
        for low, high in ((0, 6), (6, 40), (40, 200), (200, 800)):
            low, high = (min(edge, len(near) - 1 + at) for at, edge in enumerate((low, high)))
            other(int(near[rng.integers(low, high)]), "near_text")
        alike = np.argsort(-(self.seen @ self.seen[index]))[1:]
        other(int(alike[rng.integers(0, 8)]), "near_image")
        for _ in range(2):
            other(int(near[rng.integers(len(near) // 4, len(near))]), "random")

        def pick() -> int:
            return int(rng.integers(5))

        made = 0
        for kind in rng.permutation([*SWAPS, "object", "attribute"]):
            number = pick()
            swapped = edits.swap(own[number], str(kind), mentioned, rng)
            if swapped is not None and made < 4:
                made += 1
                itm = max(own_itm[number] - PENALTY[f"swap_{kind}"], 3.0)
                text, known = edits.restyle(swapped, rng), others[number]
                untrue = frozenset(words(text)) - mentioned
                add(text, f"swap_{kind}", itm, EDITED, known, number, wrong=untrue)

        number, second = rng.choice(5, 2, replace=False)
        stranger = int(near[rng.integers(len(near) // 4, len(near))])
        for kind, text in (("true", own[second]), ("false", self.own[stranger][pick()])):
            phrase = edits.detail_phrase(text)
            if phrase is None:
                continue
            longer = edits.restyle(edits.append_detail(own[number], phrase), rng)
            untrue = frozenset(words(longer)) - mentioned if kind == "false" else frozenset()
            if kind == "true":
                itm, known = min(own_itm[number] + 4, 100.0), confirmed
            else:
                itm, known = max(own_itm[number] - PENALTY["detail_false"], 3.0), others[number]
            add(longer, f"detail_{kind}", itm, EDITED, known, int(number), wrong=untrue)

        for kind in rng.choice(list(edits.CORRUPTIONS), 3, replace=False):
            if rng.random() < 0.75:
                number = pick()
                text, itm, known = own[number], own_itm[number], others[number]
            else:
                number, image = -1, int(near[rng.integers(50, len(near))])
                text, vector = self.own[image][0], self.vectors[image][0]
                itm = self.scale(float(reference_similarity(vector[None], refs)[0]))
                known = confirmed
            bad, kept = edits.corrupt(text, str(kind), rng)
            ctq = edits.CORRUPTIONS[str(kind)][0]
            add(bad, f"ctq_{kind}", itm * (0.5 + 0.5 * kept), ctq, known, number)

        choice = int(rng.integers(len(self.alt)))
        score = self.scale(float(reference_similarity(self.alt_vectors[choice][None], refs)[0]))
        text = self.alt[choice]
        add(text, "alt_text", score, looks(text), confirmed, -1)
        if rng.random() < 0.5:
            text = str(rng.choice(edits.BOILERPLATE))
            text = text.capitalize() if rng.random() < 0.5 else text
            add(text, "boilerplate", 5.0, BOILERPLATE, confirmed, -1)
        else:
            text = edits.file_name(
                own[pick()] if rng.random() < 0.3 else self.own[stranger][0], rng
            )
            add(text, "file_name", 8.0, NOISE, confirmed, -1)

        if (
            rng.random() < 0.7
        ):  # an instruction changes nothing: the score of the caption without it
            number = pick()
            image = stranger if rng.random() < 0.6 else int(near[rng.integers(0, 100)])
            if rng.random() < 0.3:
                image = index
            text, vector = self.own[image][number], self.vectors[image][number]
            itm = self.scale(float(reference_similarity(vector[None], refs)[0]))
            itm = own_itm[number] if image == index else itm
            joined = edits.with_order(edits.restyle(text, rng), rng)
            if rng.random() < 0.15:
                joined, itm = edits.order(rng), 5.0
            add(joined, "order", itm, ORDER, others[number] if image == index else confirmed, -1)

        for number in rng.permutation(5)[:2]:
            text = edits.brief(own[number])
            if text is not None:
                itm = max(own_itm[number] - 12, 55.0)
                add(edits.restyle(text, rng), "brief", itm, BRIEF, others[number], int(number))
                break
        broad = edits.vague(own, rng)
        if broad is not None:
            add(edits.restyle(broad, rng), "vague", 50.0, VAGUE, confirmed, -1)
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    cache: Path = args.cache
    rng = np.random.default_rng(args.seed)

    splits = ("train", "dev")
    names = {s: (cache / f"{s}.names.txt").read_text().split() for s in splits}
    own = {s: read_captions(args.data, s, names[s]) for s in splits}
    alt_table = pq.read_table(args.data / "web_alt_text_only/laion_sample.parquet")
    alt = [t.strip()[:200] for t in alt_table["alt_text"].to_pylist() if t and len(t.strip()) > 2]
    half = {"train": alt[: len(alt) * 4 // 5], "dev": alt[len(alt) * 4 // 5 :]}

    texts = [t for s in splits for five in own[s] for t in five] + half["train"] + half["dev"]
    vectors_file = cache / "texts.npy"
    if vectors_file.exists() and len(np.load(vectors_file, mmap_mode="r")) == len(texts):
        vectors = np.load(vectors_file)
    else:
        print(f"embedding {len(texts)} texts", flush=True)
        vectors = SentenceEncoder(args.weights)(texts)
        np.save(vectors_file, vectors)

    counts = Counter(w for five in own["train"] for t in five for w in set(words(t)))
    frequency = {w: n / (5 * len(own["train"])) for w, n in counts.items()}
    scale: Scale | None = None
    row, alt_start = 0, sum(5 * len(own[s]) for s in splits)
    alt_row = alt_start
    for split in splits:
        count = len(own[split])
        mine = vectors[row : row + 5 * count].reshape(count, 5, -1)
        if scale is None:
            strangers = np.roll(mine[:, 0], 1, axis=0)
            chance = [
                reference_similarity(v[None], r)[0] for v, r in zip(strangers, mine, strict=True)
            ]
            true = [reference_similarity(r[:1], r[1:])[0] for r in mine]
            scale = Scale(float(np.median(chance)), float(np.median(true)))
            (cache / "teacher.json").write_text(json.dumps(asdict(scale), indent=1) + "\n")
            print(scale, flush=True)
        builder = Builder(
            own[split],
            mine,
            np.load(cache / f"{split}.pooled.npy"),
            half[split],
            vectors[alt_row : alt_row + len(half[split])],
            scale,
            frequency,
        )
        made = [entry for index in range(count) for entry in builder.image(index, rng)]
        pq.write_table(pa.Table.from_pylist(made, SCHEMA), cache / f"{split}.captions.parquet")
        kinds = Counter(str(entry["kind"]) for entry in made)
        print(split, count, "images", len(made), "captions", dict(kinds), flush=True)
        row += 5 * count
        alt_row += len(half[split])

    names_coco = (cache / "coco.names.txt").read_text().split()
    own_coco = domains.coco_captions(args.data, names_coco)
    mine = SentenceEncoder(args.weights)([t for five in own_coco for t in five])
    builder = Builder(
        own_coco,
        mine.reshape(len(own_coco), 5, -1),
        np.load(cache / "coco.pooled.npy")[: len(own_coco)],
        half["train"],
        vectors[alt_start : alt_start + len(half["train"])],
        scale,
        frequency,
    )
    made = []
    views = len(np.load(cache / "coco.pooled.npy", mmap_mode="r")) // len(own_coco)
    for view in range(views):
        for index in range(len(own_coco)):
            place = view * len(own_coco) + index
            made += [entry | {"image": place} for entry in builder.image(index, rng)]
    pq.write_table(pa.Table.from_pylist(made, SCHEMA), cache / "coco.captions.parquet")
    print("coco", len(own_coco), "images", len(made), "captions", flush=True)


if __name__ == "__main__":
    main()
