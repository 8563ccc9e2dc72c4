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
PromptPack = Annotated[
    str | None,
    Doc(
        "Prompt pack to ask: a .toml file, or pairsift, compact or vqascore; default: the one that "
        "the model was trained with, else pairsift."
    ),
]
Metrics = Annotated[
    str | None, Doc("Metrics to score, e.g. itm,odf; default: all that the scorer has.")
]
Kind = Annotated[
    str | None,
    Doc(
        "Input format: webdataset, parquet, arrow, lance or folder; detected from the file "
        "extension if omitted."
    ),
]
CaptionField = Annotated[
    str | None,
    Doc(
        "Where the caption is. Tars: the suffix of a member (txt, outputs.txt) or json.PATH. "
        "Parquet: a column, or a path into it (captions.0, caption.en). Folders: the column "
        "of the captions table. Give several, separated by commas, to score each caption as a "
        "row of its own; captions.* is every text of a list."
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
ImageRoot = Annotated[
    str | None,
    Doc(
        "Folder or URL (s3://BUCKET/PATH) below which the images are that a table names by path; "
        "default: the table's own folder. Other images are not read."
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
    image_root: ImageRoot = None
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
    w: Annotated[
        float | None,
        Doc("Factor by which --scorer clip multiplies the cosine: 1 (default), 2.5 or 100."),
    ] = None
    resize: Annotated[
        str | None,
        Doc(
            "How --scorer clip resizes images: pillow (default), as CLIP was trained, or torch, "
            "four times as fast; a few 8-bit values then differ by one, rarely by two."
        ),
    ] = None
    metrics: Metrics = None
    mark_out_of_scope: Annotated[
        bool,
        Doc(
            "Mark captions in languages, and images of kinds, that the scorer was not trained for; "
            "scores are kept."
        ),
    ] = False
    languages: Annotated[
        str | None,
        Doc(
            "Languages that the scorer reads, e.g. en,de, for --mark-out-of-scope; default: those "
            "that it declares."
        ),
    ] = None
    hashes: Annotated[
        bool,
        Doc(
            "Add the columns image_sha256, image_phash and caption_hash, by which `pairsift dedup` "
            "finds copies."
        ),
    ] = False
    embeddings: Annotated[
        bool,
        Doc(
            "Write image and text embeddings, float16, next to the score tables. For the scorers "
            "clip, dual-encoder and tiny-glance."
        ),
    ] = False
    carry: Annotated[
        Texts,
        Commas(),
        Doc(
            "Fields of the samples to put into the score table as columns, separated by commas, "
            "e.g. url,domain: of a tar's .json, a table's or parquet's columns. A path leads into "
            "an object (meta.domain), NAME=FIELD renames, FIELD:TYPE gives the type: text, number, "
            "integer or bool; default: what the first samples have."
        ),
    ] = ()
    scorer_option: Annotated[
        Mapping[str, Any],
        Pairs(),
        Doc("NAME=VALUE: an option of a scorer from another package; may be repeated."),
    ] = field(default_factory=dict)
    kind: Kind = None
    caption_field: CaptionField = None
    image_field: ImageField = None
    captions_file: CaptionsFile = None
    image_root: ImageRoot = None
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
            "hangs its decoder ends the run. Default: the number of cores minus two, so 0 on a "
            "machine with two. With --devices, this is the number for each device."
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
        Doc(
            "failed: also score rows again whose error may be temporary (read_error, model_error)."
        ),
    ] = None
    rescore: Annotated[
        str | None,
        Doc(
            "changed: score shards again that changed since they were scored; without it, such "
            "shards are an error."
        ),
    ] = None
    devices: Annotated[
        str | None,
        Doc(
            "Devices of this machine to score on at once, with a scorer process for each: all "
            "(every GPU), GPU numbers such as 0,1,2, or cpu:N for N processes on the CPU. Default: "
            "one process, on --device."
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
class ImportOptions(SourceOptions):
    """Options of `pairsift import`."""

    tables: Annotated[
        Texts,
        Argument(),
        Doc("Tables of scores (parquet, CSV, TSV, JSON lines): paths, globs, folders, URLs."),
    ]
    columns: Annotated[
        Texts,
        Commas(),
        Doc(
            "Columns to import, separated by commas, e.g. clip,domain. NAME=COLUMN renames, "
            "COLUMN:TYPE gives the type: text, number, integer or bool; default: what the first "
            "rows have."
        ),
    ]
    uid: Annotated[
        str | None,
        Doc("Column with DataComp's uid, 32 hexadecimal digits; default: uid, if there is one."),
    ] = None
    key: Annotated[
        str | None, Doc("Column with the sample's key; default: the number of the row.")
    ] = None
    shard: Annotated[
        str | None, Doc("Column with the name of the sample's shard, for keys that repeat.")
    ] = None
    pool: Annotated[
        Texts,
        Doc(
            "Shards that the scores are of, to see and to write their samples: a path, glob or "
            "URL; may be repeated. Each sample becomes a row; without it, each row of the tables."
        ),
    ] = ()
    range: Annotated[
        Mapping[str, Any],
        Pairs(),
        Doc(
            "NAME=LOW:HIGH: the lowest and highest value of a column; may be repeated. A row "
            "outside is row_invalid. Default: the report measures the range."
        ),
    ] = field(default_factory=dict)
    rescore: Annotated[
        str | None,
        Doc(
            "changed: import tables again that changed since they were imported, or with --pool "
            "its shards; without it, such are an error."
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupOptions:
    """Options of `pairsift dedup`."""

    on: Annotated[
        str,
        Doc(
            "What copies have in common: image, caption, both, or none (for --against alone). "
            "Captions are compared without case, punctuation and spaces."
        ),
    ] = "image"
    distance: Annotated[
        int | None,
        Ge(0),
        Le(12),
        Doc(
            "Bits, of 64, by which the perceptual hashes of copies may differ; default: 4, and 8 "
            "for --against. Distances are even; an odd value means the next lower one."
        ),
    ] = None
    exact: Annotated[
        bool, Doc("Take images as copies only if their files are the same, byte for byte.")
    ] = False
    against: Annotated[
        Texts,
        Doc(
            "Evaluation set whose images to find in the pool: a list that `pairsift hashes` wrote, "
            "or a folder, tar or parquet file of images. May be repeated."
        ),
    ] = ()
    memory_limit: Annotated[
        str, Doc("Memory for the query, e.g. 2GB; what needs more goes to a temporary folder.")
    ] = "2GB"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormSimOptions:
    """Options of `pairsift normsim`."""

    target: Annotated[
        Texts,
        Doc(
            "Score folder with the embeddings of the target set, by the same scorer. May be "
            "repeated."
        ),
    ]
    norm: Annotated[
        str,
        Doc(
            "How target images are combined: 2 (root of the sum of squared cosines) or inf (the "
            "nearest one)."
        ),
    ] = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class NegClipLossOptions:
    """Options of `pairsift neg-clip-loss`."""

    batch: Annotated[int, Ge(1), Doc("Pairs in a batch.")] = 32_768
    rounds: Annotated[
        int,
        Ge(1),
        Doc("How often the pairs are divided into random batches; results are averaged."),
    ] = 10
    temperature: Annotated[
        float, Doc("Temperature of the loss that the model was trained with.")
    ] = 0.01
    seed: Annotated[int, Ge(0), Doc("Seed of what is drawn at random.")] = 0
    chunk: Annotated[int, Ge(1), Doc("Rows in memory at a time; batches are drawn from them.")] = (
        1_000_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticDuplicatesOptions:
    """Options of `pairsift semantic-duplicates`."""

    epsilon: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc("Images whose cosine is above 1 - EPSILON are put into one group."),
    ] = 0.05
    clusters: Annotated[
        int | None, Ge(1), Doc("Clusters of k-means; default: the square root of the rows.")
    ] = None
    seed: Annotated[int, Ge(0), Doc("Seed of what is drawn at random.")] = 0
    memory_limit: Annotated[str, Doc("Memory for the pairs, e.g. 2GB.")] = "2GB"


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
        Texts,
        Doc(
            "List of uids to leave out: .npy, .parquet or text; or a folder that `pairsift dedup "
            "--against` wrote, whose marked rows are left out. May be repeated."
        ),
    ] = ()
    unique: Annotated[
        bool,
        Doc("Keep only the best row of each uid; without a uid, of each image_sha256."),
    ] = False
    groups: Annotated[
        str | None,
        Doc(
            "Folder that `pairsift dedup` wrote, for --per-group. In a run's file it is what "
            "[dedup] or [semantic_duplicates] wrote, if omitted."
        ),
    ] = None
    per_group: Annotated[
        int | None,
        Ge(1),
        Doc(
            "Rows to keep of each group of copies: the best by --by; --seed decides among equals. "
            "--top and --count hold for what is left."
        ),
    ] = None
    sample: Annotated[
        int | None,
        Ge(0),
        Doc("Number of rows to draw by --weights, in place of --top; a row may be drawn again."),
    ] = None
    weights: Annotated[
        str | None,
        Doc('Expression that says how likely a row is drawn by --sample, e.g. "exp(itm/20)".'),
    ] = None
    repeat_penalty: Annotated[
        float,
        Ge(0),
        Doc(
            "Soft cap on repeats with --sample: each draw multiplies a row's weight by "
            "exp(-PENALTY). 0 draws with replacement, inf draws each row once at most."
        ),
    ] = 0.15
    best_caption: Annotated[
        bool,
        Doc("Keep only the caption of each sample that is best by --by, if several are scored."),
    ] = False
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
        Doc(
            "Scores that separate the buckets, separated by commas, e.g. 50,66. The default fits "
            "the MLM-Filter models; pairsift-tiny needs lower ones, e.g. 10,20,40."
        ),
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
    groups: Annotated[
        str | None,
        Doc(
            "Groups of copies to show: a folder that `pairsift dedup` wrote. Default: those that "
            "the selection was made with."
        ),
    ] = None
    title: Annotated[str, Doc("Heading of the page.")] = ""
    gallery_size: Annotated[int, Ge(0), Doc("Pairs in each gallery.")] = 12
    seed: Annotated[int, Doc("Seed of the random samples.")] = 0


SERVE_GRACE_S = 15.0
"""Time that a server which stops gives its open requests, in seconds; `cli` allows for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Who may use the server, and its limits."""

    host: Annotated[
        str, Doc("Address to listen on. Any address but the loopback needs an API key.")
    ] = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535), Doc("Port to listen on; 0 picks a free one.")] = 8000
    api_key_file: Annotated[
        str | None, Doc("File with the API key that clients must send; or set $PAIRSIFT_API_KEY.")
    ] = None
    no_api_key: Annotated[bool, Doc("Accept requests without an API key.")] = False
    allow_remote: Annotated[bool, Doc("Fetch images from URLs that clients send.")] = False
    allow_network: Annotated[
        Texts,
        Doc("Private network from which images may be fetched, e.g. 10.1.0.0/16; may be repeated."),
    ] = ()
    batch_size: BatchSize = None
    max_wait_ms: Annotated[float, Ge(0), Doc("Milliseconds that a batch waits for more pairs.")] = (
        10.0
    )
    workers: Annotated[int, Ge(0), Doc("Processes that decode images; 0 decodes in threads.")] = 1
    max_body_mib: Annotated[float, Doc("Largest request body, in MiB.")] = 32.0
    max_image_mib: Annotated[float, Doc("Largest encoded image, in MiB.")] = 16.0
    max_pixels: Annotated[int, Ge(1), Doc("Largest decoded image, in pixels.")] = 32_000_000
    max_pairs: Annotated[int, Ge(1), Doc("Most pairs in one request.")] = 64
    max_queue: Annotated[
        int, Ge(1), Doc("Most pairs waiting; beyond it clients get status 429.")
    ] = 512
    max_memory_mib: Annotated[
        float, Doc("Most memory for all open requests, in MiB; beyond it clients get status 503.")
    ] = 256.0
    time_limit: Annotated[
        float, Ge(0.1), Doc("Time limit of a request in seconds; then the client gets status 504.")
    ] = 120.0
