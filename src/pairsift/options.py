"""The options of each step, declared once for the command line, `pairsift run` and Python.

The :class:`Doc` of a field is its help text. ``pairsift.cli.options`` makes command-line options of
the fields, :mod:`pairsift.config` reads them from a file, and ``docs/reference/run.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le
from typing_extensions import Doc

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """Marks a field that is a positional argument on the command line."""


@dataclass(frozen=True, slots=True)
class Commas:
    """Marks a field whose values are separated by commas on the command line."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Marks a field of names and values: NAME=VALUE, repeated, on the command line."""


# Options that several commands have.
Scorer = Annotated[str, Doc("Name of a scorer, or a folder that holds a checkpoint.")]
Model = Annotated[str | None, Doc("Checkpoint that the scorer loads: a folder or a hub name.")]
VisionTower = Annotated[
    str | None, Doc("Folder of the vision tower, if a legacy checkpoint lacks it.")
]
Adapter = Annotated[str | None, Doc("Folder of a LoRA adapter to put on the model.")]
PromptPack = Annotated[str | None, Doc("Prompt pack (.toml) that the model was trained with.")]
Metrics = Annotated[
    str | None, Doc("Metrics to score, e.g. itm,odf; default: all that the scorer has.")
]
Kind = Annotated[
    str | None,
    Doc(
        "Input format: webdataset, parquet or folder; detected from the file extension if omitted."
    ),
]
CaptionField = Annotated[
    str | None,
    Doc(
        "Where the caption is. Tars: the suffix of a member (txt, outputs.txt) or json.PATH. "
        "Parquet: a column, or a path into it (captions.0, caption.en). Folders: the column "
        "of the captions table."
    ),
]
ImageField = Annotated[
    str | None,
    Doc(
        "Where the image is. Tars: the suffix of a member (input.jpg, img). Parquet: a "
        "column, or a path into it (images.0). Folders: the column of the captions table "
        "with the image's path."
    ),
]
CaptionsFile = Annotated[
    str | None,
    Doc(
        "Table with the captions of a folder of images (.csv, .tsv, .jsonl or .parquet), as a "
        "path below the folder."
    ),
]
Separator = Annotated[
    str | None,
    Doc(
        "What separates the fields of a table of captions or judgments: one character, or "
        "comma, tab, semicolon or pipe; detected from the first line if omitted."
    ),
]
Encoding = Annotated[
    str | None,
    Doc(
        "Encoding of a table of captions or judgments, e.g. utf-16 or latin-1; default: UTF-8, "
        "or what the file's byte order mark says."
    ),
]
Device = Annotated[
    str | None, Doc("Device to run on: cpu, cuda, cuda:1, ...; default: a GPU if there is one.")
]
Dtype = Annotated[str | None, Doc("Precision of the model: float32, bfloat16 or float16.")]
BatchSize = Annotated[int | None, Ge(1), Doc("Pairs per batch; default: the scorer's own.")]
CaptionedImages = Annotated[
    Texts,
    Doc(
        "Folder, .tar or .parquet file with the images; may be repeated. Captions of images that "
        "are not there are left out."
    ),
]
Roots = Annotated[
    Texts,
    Doc(
        "Folder where the source shards are now, if they were moved since they were scored. "
        "With several score folders, give it once for all of them or once for each in order."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How shards are read."""

    kind: Kind = None
    caption_field: CaptionField = None
    image_field: ImageField = None
    captions_file: CaptionsFile = None
    separator: Separator = None
    encoding: Encoding = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Which scorer is loaded, and how."""

    scorer: Scorer = "pairsift-tiny"
    model: Model = None
    vision_tower: VisionTower = None
    adapter: Adapter = None
    prompts: PromptPack = None
    metrics: Metrics = None
    device: Device = None
    dtype: Dtype = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """Options of `pairsift score`."""

    shards: Annotated[
        Texts,
        Argument(),
        Doc("Tars, parquet files or folders: paths, globs, brace lists, fsspec URLs."),
    ]
    scorer: Scorer = "pairsift-tiny"
    model: Model = None
    vision_tower: VisionTower = None
    adapter: Adapter = None
    prompts: PromptPack = None
    reference_quirks: Annotated[
        bool, Doc("Use the model exactly as its authors' code does, faults included.")
    ] = False
    plan: Annotated[
        str | None, Doc("Plan that `pairsift cascade` wrote, for --scorer cascade.")
    ] = None
    w: Annotated[float | None, Doc("Factor of CLIPScore: 1, 2.5 or 100.")] = None
    metrics: Metrics = None
    mark_out_of_scope: Annotated[
        bool,
        Doc("Mark captions in languages that the scorer was not trained for; scores are kept."),
    ] = False
    languages: Annotated[
        str | None,
        Doc(
            "Languages that the scorer reads, e.g. en,de, for --mark-out-of-scope; default: those "
            "that it declares."
        ),
    ] = None
    scorer_option: Annotated[
        Mapping[str, Any],
        Pairs(),
        Doc("NAME=VALUE: an option of a scorer from another package; may be repeated."),
    ] = field(default_factory=dict)
    kind: Kind = None
    caption_field: CaptionField = None
    image_field: ImageField = None
    captions_file: CaptionsFile = None
    separator: Separator = None
    encoding: Encoding = None
    device: Device = None
    dtype: Dtype = None
    batch_size: BatchSize = None
    workers: Annotated[
        int | None,
        Ge(0),
        Doc(
            "Processes that decode images; 0 decodes in a thread, where an image that crashes or "
            "hangs its decoder ends the run. Default: one for each core beyond two."
        ),
    ] = None
    max_failure_rate: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc("Abort when more than this share of samples fails; checked once 1,000 have been read."),
    ] = 0.05
    part: Annotated[
        str | None,
        Doc("i/n: score only every n-th shard, beginning with the i-th, for n machines."),
    ] = None
    retry: Annotated[
        str | None,
        Doc("failed: also score rows again that failed for a reason that may have passed."),
    ] = None
    rescore: Annotated[
        str | None,
        Doc(
            "changed: score shards again that changed since they were scored; without it, such "
            "shards are an error."
        ),
    ] = None
    engine: Annotated[str, Doc("Where to run: local, or ray for a cluster.")] = "local"
    ray_address: Annotated[
        str | None, Doc("Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT.")
    ] = None
    actors: Annotated[
        str | None, Doc("Scorers on the Ray cluster: N, or LEAST:MOST for a pool that grows.")
    ] = None
    gpus_per_actor: Annotated[
        float | None, Ge(0), Doc("GPUs of each scorer on the cluster; may be a fraction.")
    ] = None
    cpus_per_actor: Annotated[
        int | None,
        Ge(1),
        Doc("CPUs of each scorer on the cluster; all beyond the first decode images."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectOptions:
    """Options of `pairsift select`."""

    where: Annotated[
        str | None, Doc('Condition that rows must pass, e.g. "itm >= 40 and ctq >= 50".')
    ] = None
    top: Annotated[
        float | None, Ge(0), Le(1), Doc("Fraction to keep of the rows that can be ranked.")
    ] = None
    count: Annotated[int | None, Ge(0), Doc("Number of rows to keep, in place of --top.")] = None
    by: Annotated[
        str | None,
        Doc('Score column or expression to rank by, e.g. "0.5*itm + 0.5*odf"; needed by --top.'),
    ] = None
    per: Annotated[
        str | None, Doc("Column or expression; --top or --count holds for each of its values.")
    ] = None
    seed: Annotated[int, Doc("Seed that decides which of equal rows at the cut are kept.")] = 0
    exclude: Annotated[
        Texts, Doc("List of uids to leave out: .npy, .parquet or text; may be repeated.")
    ] = ()
    unique: Annotated[bool, Doc("Keep only the best row of each uid.")] = False
    join: Annotated[
        Texts,
        Doc(
            "A table beside the scores, NAME=PATH or NAME=PATH@uid (uid, key, shard): a score "
            "folder, parquet, CSV, TSV or JSON lines. Expressions name its columns as "
            "NAME.column. May be repeated."
        ),
    ] = ()
    agreement: Annotated[
        float | None,
        Ge(0),
        Le(1),
        Doc(
            "For scores of a cascade: the share of the selection that must be the same as with "
            "full scoring; default: what the cascade was planned for."
        ),
    ] = None
    memory_limit: Annotated[
        str, Doc("Memory for the query, e.g. 2GB; what needs more goes to a temporary folder.")
    ] = "2GB"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """Options of `pairsift write`."""

    datacomp: Annotated[str | None, Doc("Subset file (.npy) for DataComp's resharder.")] = None
    webdataset: Annotated[
        str | None, Doc("Folder for new tars; members are copied byte for byte.")
    ] = None
    parquet: Annotated[
        str | None, Doc("Parquet file with the kept rows and their scores, without images.")
    ] = None
    dataset: Annotated[str | None, Doc("Folder for a Hugging Face dataset, images included.")] = (
        None
    )
    buckets: Annotated[
        str | None, Doc("Folder for new tars, with a folder for each range of a score.")
    ] = None
    to: Annotated[
        Mapping[str, Any],
        Pairs(),
        Doc("NAME=PATH: output of a writer from another package; may be repeated."),
    ] = field(default_factory=dict)
    bucket_by: Annotated[str, Doc("Score column that divides the --buckets.")] = "itm"
    bucket_edges: Annotated[
        tuple[float, ...],
        Commas(),
        Doc("Scores that separate the buckets, separated by commas, e.g. 50,66."),
    ] = (50.0, 66.0, 80.0)
    samples_per_shard: Annotated[int, Ge(1), Doc("Samples in each new tar.")] = 10_000
    add_scores: Annotated[
        Texts,
        Commas(),
        Doc("Score columns, separated by commas, to put into each sample's .json."),
    ] = ()
    workers: Annotated[
        int | None,
        Ge(1),
        Doc("Threads that write tars; default: chosen by the number of cores and samples."),
    ] = None
    root: Annotated[
        str | None, Doc("Folder where the scored shards are now, if they were moved.")
    ] = None
    keep_duplicates: Annotated[
        bool, Doc("Write a repeated uid as often as it is kept, with --datacomp.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Options of `pairsift report`."""

    compare: Annotated[
        str | None, Doc("Folder of a second selection, to compare with the first.")
    ] = None
    join: Annotated[
        Texts, Doc("Other scores to show beside these, NAME=PATH; may be repeated.")
    ] = ()
    root: Roots = ()
    title: Annotated[str, Doc("Heading of the page.")] = ""
    gallery_size: Annotated[int, Ge(0), Doc("Pairs in each gallery.")] = 12
    seed: Annotated[int, Doc("Seed of the random samples.")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """Options that `pairsift evaluate human` and `pairsift evaluate pairs` share."""

    images: Annotated[
        Texts, Doc("Folder, .tar or .parquet file with the images. May be repeated.")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of `pairsift train` that are settings as they are."""

    data: Annotated[
        Texts,
        Argument(),
        Doc("Folders that `pairsift balance` wrote, or the .json or .parquet files in them."),
    ]
    model: Annotated[str, Doc("Checkpoint to start from: folder or hub name.")]
    out: Annotated[str, Doc("Folder for the trained checkpoint.")]
    images: Annotated[
        Texts, Doc("More places to search for images: folder, .tar or .parquet; may be repeated.")
    ] = ()
    prompts: Annotated[
        str | None,
        Doc(
            "Prompt pack: a .toml file, pairsift or compact. Default: the model's own, then "
            "the data's."
        ),
    ] = None
    objective: Annotated[
        str,
        Doc(
            "What to learn. distribution: soft labels over the scores; words: the score, "
            "then a rationale."
        ),
    ] = "distribution"
    label_std: Annotated[
        float, Ge(0), Doc("Standard deviation of the soft label around a score, in points.")
    ] = 5.0
    ranking: Annotated[
        float, Ge(0), Doc("Weight of the loss that ranks captions of one image; 0 turns it off.")
    ] = 0.0
    captions_per_image: Annotated[
        int, Ge(1), Doc("Most captions of one image that are ranked against each other.")
    ] = 4
    batch_size: Annotated[int, Ge(1), Doc("Pairs in a forward pass; with --ranking, images.")] = 8
    accumulate: Annotated[int, Ge(1), Doc("Forward passes per optimizer step.")] = 4
    warmup: Annotated[
        float, Ge(0), Le(1), Doc("Fraction of a stage's steps for warm-up; a cosine decay follows.")
    ] = 0.03
    weight_decay: Annotated[float, Ge(0), Doc("Weight decay of AdamW.")] = 0.0
    gradient_checkpointing: Annotated[
        bool, Doc("Use less memory; training is about a third slower.")
    ] = False
    save_every: Annotated[int, Ge(1), Doc("Steps between checkpoints and dev measurements.")] = 100
    log_every: Annotated[int, Ge(1), Doc("Steps between lines of the log.")] = 10
    dev_fraction: Annotated[
        float, Ge(0), Le(0.9), Doc("Fraction of the images that is set apart as the dev set.")
    ] = 0.1
    dev_data: Annotated[str | None, Doc("Other training data to use as the dev set.")] = None
    dev_pairs: Annotated[int, Ge(1), Doc("Most pairs of the dev set to measure on.")] = 1000
    best_by: Annotated[
        str | None,
        Doc(
            "Metric whose dev correlation selects the best checkpoint, or mean; default: "
            "itm if it is trained."
        ),
    ] = None
    mix: Annotated[str | None, Doc("LLaVA JSON of general instructions to mix in.")] = None
    mix_ratio: Annotated[float, Ge(0), Doc("Instructions to mix in for each scored pair.")] = 0.25
    seed: Annotated[int, Ge(0), Doc("Seed of all random choices.")] = 0
    device: Annotated[str, Doc("Device to train on: auto, cpu or cuda.")] = "auto"
    dtype: Annotated[
        str, Doc("Precision: auto, float32 or bfloat16; auto is bfloat16 on GPUs that support it.")
    ] = "auto"
    workers: Annotated[int, Ge(0), Doc("Processes that decode images.")] = 0
    keep_checkpoints: Annotated[bool, Doc("Keep all checkpoints in OUT/training.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """Options of `pairsift train` that say what its stages train."""

    metrics: Annotated[
        str | None, Doc("Metrics to train, e.g. itm,odf; default: all that the data has.")
    ] = None
    stages: Annotated[
        str,
        Doc(
            "Training stages, separated by commas: projector, language (projector and language "
            "model), all."
        ),
    ] = "projector,all"
    epochs: Annotated[
        str | None,
        Doc("Epochs of each stage, separated by commas, or one number for all; default: 1."),
    ] = None
    steps: Annotated[str | None, Doc("Steps of each stage, in place of --epochs.")] = None
    learning_rate: Annotated[
        str | None,
        Doc("Learning rate of each stage. Default: 1e-3 for projector, else 2e-5, with LoRA 2e-4."),
    ] = None
    lora: Annotated[int, Ge(0), Doc("Rank of the LoRA updates; 0 trains all weights.")] = 0
    lora_alpha: Annotated[
        int | None, Ge(1), Doc("Scale of the LoRA updates; default: twice the rank.")
    ] = None
    lora_dropout: Annotated[float, Ge(0), Le(0.9), Doc("Dropout before the LoRA updates.")] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamSources:
    """What `pairsift evaluate downstream` makes or takes its pool of, and tests on."""

    images: Annotated[Texts, Doc("Images with known-good captions: folder, .tar or .parquet.")] = ()
    captions: Annotated[str | None, Doc("Table with the captions of all these images.")] = None
    alt_text: Annotated[
        str | None, Doc("Table with real alt texts to use as noise in the pool.")
    ] = None
    pool: Annotated[Texts, Doc("Shards of a pool of your own, in place of --images.")] = ()
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
    """Options of `pairsift evaluate downstream` that are settings as they are."""

    image_limit: Annotated[
        int | None, Ge(2), Doc("Make the pool from this many of the images, drawn at random.")
    ] = None
    seeds: Annotated[int, Ge(1), Doc("Models trained for each filter, with different seeds.")] = 3
    samples_seen: Annotated[
        int | None,
        Ge(1),
        Doc("Samples that each model is trained for; default: three times the pool."),
    ] = None
    jobs: Annotated[
        int | None, Ge(1), Doc("Models trained at the same time; default: one per core.")
    ] = None
    batch_size: Annotated[int | None, Ge(1), Doc("Pairs per batch when scoring.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostOptions:
    """Options of `pairsift evaluate cost` that are settings as they are."""

    shards: Annotated[
        Texts, Doc("Shards with the pairs to score; default: the demo's photographs.")
    ] = ()
    pairs: Annotated[
        int | None, Ge(1), Doc("Pairs in a round; default: those of 12 images, with a GPU of 768.")
    ] = None
    captions_per_image: Annotated[
        int, Ge(1), Doc("Captions of each image; models may encode an image once for all of them.")
    ] = 1
    rounds: Annotated[int, Ge(1), Doc("Rounds in which all scorers take turns.")] = 3
    threads: Annotated[int, Ge(1), Doc("Threads of PyTorch on the CPU.")] = 1
    baseline: Annotated[
        str | None, Doc("Scorer that the others are compared with; default: CLIPScore ViT-L/14.")
    ] = None
    devices: Annotated[int, Ge(1), Doc("Devices that the projection counts with.")] = 1
    price_per_hour: Annotated[float | None, Ge(0), Doc("Price of one device, in any currency.")] = (
        None
    )
    device: Device = None
    dtype: Annotated[
        str | None, Doc("Precision, where a scorer takes it: float32, bfloat16 or float16.")
    ] = None
    batch_size: Annotated[
        int | None, Ge(1), Doc("Pairs per batch; default: each scorer's own.")
    ] = None
