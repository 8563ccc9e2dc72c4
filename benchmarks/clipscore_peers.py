"""CLIPScore of 1,000 pairs: Pairsift beside torchmetrics and open_clip, with the same weights.

    OMP_NUM_THREADS=1 .venv-outside-peers/bin/python -m benchmarks.clipscore_peers --rounds 5

The model is a random CLIP, 224 pixels in patches of 32, with CLIP's own vocabulary. The pool is
that of ``benchmarks/reading.py``. Each way reads the tars and gives one cosine a pair, in batches
of 64, in one process:

- ``pairsift``: the scorer ``clip`` over :func:`pairsift.sources.open_shard`;
- ``torchmetrics``: ``CLIPScore.update`` with a list of image tensors, which transformers' processor
  prepares; webdataset and Pillow read. It keeps only the mean, which is compared. Where torchvision
  is installed, the processor resizes with it; ``torchmetrics, Pillow`` has the processor that
  resizes with Pillow, as CLIP was trained and as Pairsift does: the same pixels. With ``--resize
  torch`` Pairsift resizes with the kernel that torchvision uses;
- ``open_clip``: its transform and tokenizer in a webdataset pipeline, then ``encode_image`` and
  ``encode_text``.

Cosines are compared pair by pair; open_clip's differ a little, because its transform resizes
otherwise.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reading import PAIRS, make_pool
from benchmarks.rounds import OURS, run_rounds, versions

BATCH = 64
IMAGE, PATCH, EMBEDDING = 224, 32, 64
TOWER = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "hidden_act": "gelu"}
HEADS = 2
START, END = 49406, 49407
Score = Callable[[], np.ndarray]


def make_checkpoint(folder: Path, width: int, layers: int) -> Path:
    """Write a random CLIP with the processor and tokenizer of CLIP."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    shape = TOWER | {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
    }
    ends = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config=shape | ends | {"vocab_size": END + 1, "max_position_embeddings": 77},
            vision_config=shape | {"image_size": IMAGE, "patch_size": PATCH},
            projection_dim=EMBEDDING,
        )
    )
    model.eval().save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    vocabulary, merges = clip_vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    return folder


def clip_vocabulary() -> tuple[dict[str, int], list[str]]:
    """Return CLIP's tokens and merges, which come with open_clip."""
    from open_clip.tokenizer import bytes_to_unicode

    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    packed = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(packed.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["".join(merge.split()) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: place for place, token in enumerate(tokens)}, merges


def open_clip_model(folder: Path) -> Any:
    """Return open_clip's CLIP with the weights of a checkpoint of transformers."""
    import open_clip
    from transformers import CLIPModel

    theirs = CLIPModel.from_pretrained(folder)
    vision, text = theirs.config.vision_config, theirs.config.text_config
    model = open_clip.CLIP(
        embed_dim=EMBEDDING,
        vision_cfg={
            "image_size": IMAGE, "patch_size": PATCH, "width": vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "head_width": vision.hidden_size // vision.num_attention_heads,
        },
        text_cfg={
            "context_length": 77, "vocab_size": END + 1, "width": text.hidden_size,
            "layers": text.num_hidden_layers, "heads": text.num_attention_heads,
        },
    )  # fmt: skip
    state = theirs.state_dict()
    model.load_state_dict(open_clip_names(state, model.state_dict().keys()))
    return model.eval()


def open_clip_names(state: dict[str, torch.Tensor], names: Any) -> dict[str, torch.Tensor]:
    """Rename the weights of transformers' CLIP."""
    vision, text = "vision_model.", "text_model."
    plain = {
        "visual.class_embedding": f"{vision}embeddings.class_embedding",
        "visual.positional_embedding": f"{vision}embeddings.position_embedding.weight",
        "visual.conv1.weight": f"{vision}embeddings.patch_embedding.weight",
        "positional_embedding": f"{text}embeddings.position_embedding.weight",
        "token_embedding.weight": f"{text}embeddings.token_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = {
        "visual.ln_pre": f"{vision}pre_layrnorm",
        "visual.ln_post": f"{vision}post_layernorm",
        "ln_final": f"{text}final_layer_norm",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    found = {}
    for name in names:
        tower = vision if name.startswith("visual.") else text
        if name in plain:
            found[name] = state[plain[name]]
        elif name == "visual.proj":
            found[name] = state["visual_projection.weight"].T
        elif name == "text_projection":
            found[name] = state["text_projection.weight"].T
        elif "resblocks." in name:
            layer, rest = name.split("resblocks.")[1].split(".", 1)
            block = f"{tower}encoder.layers.{layer}."
            if rest.startswith("attn.in_proj_"):
                kind = rest.removeprefix("attn.in_proj_")
                found[name] = torch.cat(
                    [state[f"{block}self_attn.{part}_proj.{kind}"] for part in "qkv"]
                )
            else:
                part, kind = rest.rsplit(".", 1)
                found[name] = state[f"{block}{parts[part]}.{kind}"]
        else:
            part, kind = name.rsplit(".", 1)
            found[name] = state[f"{parts[part]}.{kind}"]
    return found


def by_pairsift(tars: list[str], folder: Path, resize: str = "pillow") -> Score:
    """Return a call that gives the cosines, in order."""
    from pairsift import load_scorer
    from pairsift.sources import find_shards, open_shard

    scorer = load_scorer("clip", model=str(folder), device="cpu", resize=resize)

    def score() -> np.ndarray:
        pairs = (pair for shard in find_shards(tars).shards for pair in open_shard(shard))
        table = scorer.score(pairs, batch_size=BATCH)
        found: np.ndarray = table["image_text_cosine"].to_numpy()
        return found

    return score


def by_torchmetrics(tars: list[str], folder: Path, pillow: bool) -> Score:
    """Return a call that gives the mean of 100 * cosine."""
    import webdataset
    from torchmetrics.multimodal.clip_score import CLIPScore
    from torchvision.transforms.functional import pil_to_tensor
    from transformers import CLIPModel, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    def load() -> tuple[Any, Any]:
        processor = CLIPProcessor.from_pretrained(folder)
        if pillow:
            processor.image_processor = CLIPImageProcessorPil.from_pretrained(folder)
        return CLIPModel.from_pretrained(folder).eval(), processor

    metric = CLIPScore(_pooled(load))

    @torch.inference_mode()
    def score() -> np.ndarray:
        metric.reset()
        samples = iter(webdataset.WebDataset(tars, shardshuffle=False).decode("pilrgb"))
        while batch := list(islice(samples, BATCH)):
            images = [pil_to_tensor(sample["jpg"]) for sample in batch]
            metric.update(images, [sample["txt"] for sample in batch])
        return np.array([(metric.score / metric.n_samples).item()])  # compute() is at least 0

    return score


def _pooled(load: Callable[[], tuple[Any, Any]]) -> Callable[[], tuple[Any, Any]]:
    """Let torchmetrics 1.9 use transformers 5, whose features are no tensors any more."""

    def loaded() -> tuple[Any, Any]:
        model, processor = load()
        for name in ("get_image_features", "get_text_features"):
            features = getattr(model, name)
            setattr(model, name, lambda *given, call=features: call(*given).pooler_output)
        return model, processor

    return loaded


def by_open_clip(tars: list[str], folder: Path) -> Score:
    """Return a call that gives the cosines, in order."""
    import open_clip
    import webdataset

    model = open_clip_model(folder)
    transform = open_clip.image_transform(IMAGE, is_train=False)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def batches() -> Iterator[Any]:
        pipeline = webdataset.WebDataset(tars, shardshuffle=False).decode("pilrgb")
        return iter(
            pipeline.rename(image="jpg", text="txt")
            .map_dict(image=transform, text=lambda text: tokenizer(text)[0])
            .to_tuple("image", "text")
            .batched(BATCH)
        )

    @torch.inference_mode()
    def score() -> np.ndarray:
        found = []
        for images, texts in batches():
            seen = model.encode_image(images, normalize=True)
            read = model.encode_text(texts, normalize=True)
            found.append((seen * read).sum(-1))
        return torch.cat(found).numpy()

    return score


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--resize", default="pillow", help="of pairsift: pillow or torch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        tars = make_pool(work, given.pairs)
        folder = make_checkpoint(work / "clip", given.width, given.layers)
        done = run_rounds(
            {
                OURS: by_pairsift(tars, folder, given.resize),
                "torchmetrics": by_torchmetrics(tars, folder, pillow=False),
                "torchmetrics, Pillow": by_torchmetrics(tars, folder, pillow=True),
                "open_clip": by_open_clip(tars, folder),
            },
            given.rounds,
            given.pairs,
        )
    ours = done.found[OURS]
    assert len(ours) == len(done.found["open_clip"]) == given.pairs
    differ = np.abs(ours - done.found["open_clip"]).max()
    means = {
        way: abs(100 * ours.mean() - found.item())
        for way, found in done.found.items()
        if way.startswith("torchmetrics")
    }
    print("\n".join(done.lines()))
    print(f"cosines {ours.min():.3f} to {ours.max():.3f}; from open_clip's at most {differ:.4f}")
    for way, mean in means.items():
        print(f"the mean of 100 * cosine of {way} differs by {mean:.4f}")
    print(versions("torchmetrics", "open_clip_torch", "torch", "torchvision", "transformers"))
    if differ > 0.02 or max(means.values()) > 1:
        sys.exit("the scores differ")


if __name__ == "__main__":
    main()
