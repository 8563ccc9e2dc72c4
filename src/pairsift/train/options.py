"""The options of `pairsift train`, see :mod:`pairsift.options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

from pairsift.options import Argument, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of `pairsift train` that become settings unchanged."""

    data: Annotated[
        Texts,
        Argument(),
        Doc(
            "Folders that `pairsift balance` wrote, or the .json or .parquet files in them. Or "
            "labels of `pairsift explore`, or records of `pairsift teach` (.jsonl), with --images."
        ),
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
    log: Annotated[
        str | None,
        Doc(
            "Trackers that get the log as well, separated by commas: tensorboard, wandb, trackio. "
            "Event files of TensorBoard are in OUT/training/tensorboard."
        ),
    ] = None
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
    """Options of `pairsift train` about its stages."""

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
