"""The options of `pairsift evaluate`, see :mod:`pairsift.options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from typing_extensions import Doc

from pairsift.options import BatchSize, Device, Dtype, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Options that `pairsift evaluate human` and `pairsift evaluate pairs` share."""

    images: Annotated[
        Texts,
        Doc("Folder of images or shards, .tar or .parquet file with the images. May be repeated."),
    ] = ()
    scorer: Annotated[
        Texts,
        Doc("Scorers to measure: names or checkpoint folders, separated by commas or repeated."),
    ] = ()
    columns: Annotated[
        str | None, Doc("Score columns to measure, separated by commas; default: all.")
    ] = None
    by: Annotated[
        str | None,
        Doc(
            "Columns of the table that define slices, each measured separately: domain,language "
            "for each column, domain+language for their combinations."
        ),
    ] = None
    resamples: Annotated[
        int,
        Ge(0),
        Doc("Number of bootstrap resamples for the intervals; 0 gives no intervals."),
    ] = 1000
    seed: Annotated[int, Doc("Random seed of the bootstrap and of drawn wrong captions.")] = 0
    skip_missing: Annotated[
        bool, Doc("Leave out entries without an image instead of reporting an error.")
    ] = False
    device: Device = None
    dtype: Dtype = None
    batch_size: BatchSize = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamSources:
    """The pool and the test sets of `pairsift evaluate downstream`."""

    images: Annotated[Texts, Doc("Images with known-good captions: folder, .tar or .parquet.")] = ()
    captions: Annotated[str | None, Doc("Table with the captions of all these images.")] = None
    alt_text: Annotated[
        str | None, Doc("Table with real alt texts to use as noise in the pool.")
    ] = None
    pool: Annotated[Texts, Doc("Shards of your own pool, in place of --images.")] = ()
    labels: Annotated[
        str | None,
        Doc("Table that says which pairs of the pool are clean: key, clean (and shard, kind)."),
    ] = None
    retrieval_images: Annotated[
        Texts, Doc("Test images for retrieval; --captions must hold their captions too.")
    ] = ()
    retrieval_captions: Annotated[
        str | None, Doc("Captions of the retrieval images, if they are in another table.")
    ] = None
    classification: Annotated[
        Texts, Doc("Table with image bytes and class names; may be repeated.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamOptions:
    """Options of `pairsift evaluate downstream` that become settings unchanged."""

    image_limit: Annotated[
        int | None, Ge(2), Doc("Make the pool from this many of the images, drawn at random.")
    ] = None
    seeds: Annotated[
        int, Ge(1), Doc("Number of models to train for each filter, with different seeds.")
    ] = 3
    samples_seen: Annotated[
        int | None,
        Ge(1),
        Doc(
            "Samples that each model is trained on, repeats included; default: three times "
            "the pool."
        ),
    ] = None
    jobs: Annotated[
        int | None, Ge(1), Doc("Models trained at the same time; default: one per core.")
    ] = None
    batch_size: Annotated[int | None, Ge(1), Doc("Pairs per batch when scoring.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """Options of `pairsift evaluate cost` that become settings unchanged."""

    shards: Annotated[
        Texts, Doc("Shards with the pairs to score; default: the demo's photographs.")
    ] = ()
    pairs: Annotated[
        int | None,
        Ge(1),
        Doc("Pairs per round; default: those of 12 images, or of 768 images with a GPU."),
    ] = None
    captions_per_image: Annotated[
        int, Ge(1), Doc("Captions per image; a model may encode the image only once.")
    ] = 1
    rounds: Annotated[
        int, Ge(1), Doc("Number of rounds; in each, all scorers run one after the other.")
    ] = 3
    threads: Annotated[int, Ge(1), Doc("Number of PyTorch threads on the CPU.")] = 1
    baseline: Annotated[
        str | None, Doc("Scorer to compare the others with; default: CLIPScore ViT-L/14.")
    ] = None
    devices: Annotated[int, Ge(1), Doc("Number of devices in the projection.")] = 1
    price_per_hour: Annotated[
        float | None, Ge(0), Doc("Price of one device for an hour, in any currency.")
    ] = None
    device: Device = None
    dtype: Annotated[
        str | None,
        Doc("Precision of the models, if a scorer has the option: float32, bfloat16 or float16."),
    ] = None
    batch_size: Annotated[
        int | None, Ge(1), Doc("Pairs per batch; default: each scorer's own.")
    ] = None
