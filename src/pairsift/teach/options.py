"""The options of `pairsift teach`, see :mod:`pairsift.options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from typing_extensions import Doc

from pairsift.options import Argument, SourceOptions, Texts

CaptionedImages = Annotated[
    Texts,
    Doc(
        "Folder of images or shards, .tar or .parquet file with the images; may be repeated. "
        "Captions of images that are not there are left out."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachSource(SourceOptions):
    """What `pairsift teach openai` and `local` annotate."""

    shards: Annotated[
        Texts,
        Argument(),
        Doc("Shards whose pairs the teacher annotates, of any kind. Or give --captions."),
    ] = ()
    captions: Annotated[
        str | None,
        Doc(
            "File with correct captions: Flickr8k.token.txt, or a table with the columns image "
            "and caption."
        ),
    ] = None
    images: CaptionedImages = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOptions:
    """Which captions a teacher annotates."""

    candidates: Annotated[
        str | None,
        Doc(
            "Captions to annotate for each image, as kind=count, for example own=5,near=4. Kinds: "
            "own, near, random, swap, detail, named, brief, vague, corrupt, alt_text, "
            "boilerplate, file_name, order."
        ),
    ] = None
    alt_text: Annotated[
        str | None, Doc("Table of real alt texts, for candidates of the kind alt_text.")
    ] = None
    embedder: Annotated[
        str, Doc("Sentence encoder that finds similar captions: minilm, words, auto, or a folder.")
    ] = "auto"
    limit: Annotated[int | None, Ge(1), Doc("Maximum number of images to use.")] = None
    seed: Annotated[int, Doc("Random seed for the choice of candidates.")] = 0
