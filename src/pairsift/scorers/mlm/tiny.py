"""`pairsift-tiny`: a multimodal filter small enough to ship inside the package.

    pixels ── Lite2 ──┬─ 6 x 6 grid ── projector ──────────────┐
                      ├─ words it probably contains ──────────┤
                      ├─ ImageNet classes ────────────────────┼─ image tokens ─┐
                      └─ meaning vectors, by an end tuned ────┘                │
                         to tell captions apart                                │
    caption ── tokens ─────────────────────────────────────────────────────────┼─ first layers of
      │     four learned query tokens, one per metric ─────────────────────────┘  SmolLM2-135M
      │                            │                                           │
      └─ MiniLM ─ caption meaning ─┴─ agreement with the image's meanings ─────┤
                                                                               │
                                       scores 0..100 as logits, one distribution per metric

The language model reads `image tokens, caption, query` causally. A query sees the image, the
caption and itself, not the other queries, so a metric's score does not depend on which others are
asked. The agreement between the image's meaning vectors and the caption's sentence embedding, which
is what a dual encoder would compare, is told to the queries and to the score head. A linear map of
the image's meaning meets the embedding once more and tilts the scores.

Shapes: B pairs, S pixels a side (224), n rows of an encoded image, d the model width (576),
T caption tokens, M metrics (4, in the order of `METRICS`), 101 scores.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.errors import PairsiftError
from pairsift.metrics import MAX_SCORE, METRICS, MIN_SCORE
from pairsift.scorers.mlm.lite import (
    FEATURE_WIDTHS,
    NUM_CLASSES,
    Lite2,
    SecondEnd,
    normalize,
)
from pairsift.scorers.mlm.tiny_captions import Captions, Packed
from pairsift.scorers.mlm.tiny_preprocess import INPUT_SIDE, preprocess
from pairsift.scorers.mlm.tiny_weights import read_tensors, write_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image
    from transformers import BertModel, LlamaModel

NUM_SCORES = MAX_SCORE - MIN_SCORE + 1

GRID_SIDE = 6
GRID_WIDTH = 6 + sum(FEATURE_WIDTHS)
"""Channels of a grid cell: mean and contrast of its RGB, then the encoder's three maps."""

POOLED_WIDTH = 2 * FEATURE_WIDTHS[-1]
MEANING_ROWS = 2
"""Rows of an encoded image behind its tokens that carry meaning vectors, told to the queries. The
last row, behind them, is what the judge asks of a caption."""
COSINE_GAIN = 5.0
"""How much larger than it is a cosine is told to query tokens and score head."""


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the model, stored as config.json beside the weights."""

    layers: int = 6
    width: int = 576
    heads: int = 9
    key_value_heads: int = 3
    feed_forward: int = 1536
    vocabulary: int = 49152
    rope_theta: float = 100000.0
    norm_epsilon: float = 1e-5
    bos_token: int = 1
    max_caption_tokens: int = 64
    """Longer captions are cut here; the rest is not read."""
    words: int = 1000
    """Caption words that the encoder's features are asked for."""
    words_kept: int = 8
    classes_kept: int = 3
    meaning: int = 384
    """Width of the sentence encoder, MiniLM-L6."""
    sentence_layers: int = 6
    sentence_heads: int = 12
    sentence_feed_forward: int = 1536
    sentence_vocabulary: int = 30522
    curve: int = 24
    """Cosine functions that a score distribution's logits are made of."""
    input_side: int = INPUT_SIDE
    """Side in pixels of the encoder's input."""
    tuned_behind: int = 16
    """Stride of the map, 8 or 16, behind which the end that foretells meaning is tuned."""

    @property
    def image_tokens(self) -> int:
        """Tokens that the language model reads per image: BOS, grid, words, classes, meaning."""
        return 2 + GRID_SIDE**2 + self.words_kept + self.classes_kept

    @property
    def image_rows(self) -> int:
        """Rows of an encoded image (n): its tokens, the meaning vectors, what the judge asks."""
        return self.image_tokens + MEANING_ROWS + 1

    @classmethod
    def load(cls, path: Path) -> TinyConfig:
        """Read config.json. Raises PairsiftError where it is absent or has unknown fields."""
        try:
            stored = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise PairsiftError(
                f"{path}: cannot read the model's configuration: {error}"
            ) from error
        known = {field.name for field in fields(cls)}
        values = {k: v for k, v in stored.items() if k not in ("model_type", "version")}
        if stored.get("model_type") != "pairsift-tiny" or set(values) - known:
            raise PairsiftError(
                f"{path}: not a pairsift-tiny configuration of this version "
                f"(unknown: {sorted(set(values) - known) or stored.get('model_type')})"
            )
        return cls(**values)

    def save(self, path: Path, version: str) -> None:
        stored = {"model_type": "pairsift-tiny", "version": version, **asdict(self)}
        path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


class Seen(NamedTuple):
    """What the frozen encoder sees in B images.

    Attributes:
        grid: (B, 36, `GRID_WIDTH`), cells row by row.
        pooled: (B, `POOLED_WIDTH`), the last map, pooled.
        maps: the maps by stride, 8: (B, 48, h, w) and 16: (B, 120, h, w).
    """

    grid: Tensor
    pooled: Tensor
    maps: dict[int, Tensor]


def pool(final: Tensor) -> Tensor:
    """Mean and maximum over a map (B, C, h, w), as (B, 2 C)."""
    flat = final.flatten(2)
    return torch.cat([flat.mean(-1), flat.amax(-1)], dim=-1)


def image_features(encoder: Lite2, pixels: Tensor) -> Seen:
    """Run the frozen encoder over uint8 pixels (B, S, S, 3)."""
    x = normalize(pixels)
    early, middle, final = encoder(x)
    side = (GRID_SIDE, GRID_SIDE)
    mean = F.adaptive_avg_pool2d(x, side)
    contrast = (F.adaptive_avg_pool2d(x * x, side) - mean * mean).clamp_min(0).sqrt()
    maps = [F.adaptive_avg_pool2d(stage, side) for stage in (early, middle, final)]
    grid = torch.cat([mean, contrast, *maps], dim=1).flatten(2).transpose(1, 2).contiguous()
    return Seen(grid, pool(final), {8: early, 16: middle})


class TinyModel(nn.Module):
    """The model; see the module docstring. Build with `from_pretrained`, or empty from a config."""

    grid_mean: Tensor
    grid_scale: Tensor
    word_prior: Tensor
    word_embeddings: Tensor
    class_embeddings: Tensor
    class_meaning: Tensor
    meaning_center: Tensor
    waves: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        d, meaning = config.width, config.meaning
        self.encoder = Lite2()
        self.register_buffer("grid_mean", torch.zeros(GRID_WIDTH))
        self.register_buffer("grid_scale", torch.ones(GRID_WIDTH))
        self.projector = nn.Sequential(
            nn.Linear(GRID_WIDTH, d), nn.GELU(), nn.Linear(d, d), nn.LayerNorm(d)
        )
        self.grid_gain = nn.Parameter(torch.tensor(0.1))
        self.grid_position = nn.Parameter(torch.zeros(GRID_SIDE**2, d))
        self.word_scores = nn.Linear(POOLED_WIDTH, config.words)
        self.register_buffer("word_prior", torch.zeros(config.words))
        self.register_buffer("word_embeddings", torch.zeros(config.words, d))
        self.register_buffer("class_embeddings", torch.zeros(NUM_CLASSES, d))
        self.register_buffer("class_meaning", torch.zeros(NUM_CLASSES, meaning))
        # Rows: what kind of token this is, and the direction along which its probability shows.
        self.word_role = nn.Parameter(torch.zeros(2, d))
        self.class_role = nn.Parameter(torch.zeros(2, d))
        self.meaning_end = SecondEnd(config.tuned_behind)
        self.image_meaning = nn.Linear(POOLED_WIDTH, meaning)
        self.meaning_token = nn.Linear(MEANING_ROWS * meaning, d)
        self.lm = _language_model(config)
        self.queries = nn.Parameter(torch.randn(len(METRICS), d) * 0.1)
        self.sentence = _sentence_encoder(config)
        self.register_buffer("meaning_center", torch.zeros(meaning))
        self.score_head = nn.Parameter(torch.zeros(len(METRICS), config.curve, d))
        agreement = MEANING_ROWS * (1 + meaning)
        self.agreement_head = nn.Parameter(torch.zeros(len(METRICS), config.curve, agreement))
        self.query_agreement = nn.Parameter(torch.zeros(d, agreement))
        self.score_bias = nn.Parameter(torch.zeros(len(METRICS), config.curve))
        self.judge_map = nn.Linear(meaning, meaning)
        self.judge_taste = nn.Parameter(torch.zeros(meaning))
        self.judge_head = nn.Parameter(torch.zeros(len(METRICS), config.curve))
        self._compute_constants()

    def _compute_constants(self) -> None:
        """Set what follows from the configuration and is in no file (again, after a meta build)."""
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        steps = (torch.arange(NUM_SCORES) + 0.5) / NUM_SCORES
        waves = torch.cos(torch.pi * steps[:, None] * torch.arange(1, self.config.curve + 1))
        self.register_buffer("waves", waves, persistent=False)
        self.lm.rotary_emb = LlamaRotaryEmbedding(self.lm.config)
        places = torch.arange(self.sentence.config.max_position_embeddings)[None]
        self.sentence.embeddings.register_buffer("position_ids", places, persistent=False)
        self.sentence.embeddings.register_buffer(
            "token_type_ids", torch.zeros_like(places), persistent=False
        )

    # -- loading and saving -------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, dtype: torch.dtype = torch.float32
    ) -> TinyModel:
        """Load config.json and model.safetensors from a folder, in eval mode.

        Raises PairsiftError where a file cannot be read, or the tensors are not exactly those of
        the configured model (each missing, left-over or misshapen one is named).
        """
        folder = Path(directory)
        config = TinyConfig.load(folder / "config.json")
        with torch.device("meta"):
            model = cls(config)
        tensors = read_tensors(folder / "model.safetensors")
        expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        found = {name: tuple(t.shape) for name, t in tensors.items()}
        problems = [f"missing {name}" for name in expected.keys() - found.keys()]
        problems += [f"left over {name}" for name in found.keys() - expected.keys()]
        problems += [
            f"{name} has shape {found[name]}, expected {expected[name]}"
            for name in expected.keys() & found.keys()
            if expected[name] != found[name]
        ]
        if problems:
            raise PairsiftError(
                f"{folder / 'model.safetensors'} does not fit config.json: "
                + "; ".join(sorted(problems))
            )
        model.load_state_dict(tensors, assign=True)
        model._compute_constants()
        for part in (model.encoder, model.meaning_end):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.to(dtype).eval()

    def save_pretrained(self, directory: str | Path, version: str, quantize: bool = True) -> None:
        """Write config.json and model.safetensors; `quantize` as in `tiny_weights`."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save(folder / "config.json", version)
        write_tensors(folder / "model.safetensors", self.state_dict(), quantize)

    # -- the image side -----------------------------------------------------------------------

    def preprocess(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """One image to uint8 (S, S, 3); see `tiny_preprocess.preprocess`."""
        return preprocess(image, self.config.input_side)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """uint8 RGB pixels (B, S, S, 3) to encoded images (B, n, d).

        The first `config.image_tokens` rows are tokens; then `MEANING_ROWS` hold the meaning
        vectors, unit length, and the last one what the judge asks, padded with zeros to the width.
        """
        grid, pooled, maps = image_features(self.encoder, pixels)
        chances = self.encoder.classifier(pooled[:, : FEATURE_WIDTHS[-1]]).softmax(-1)
        meaning = self.foretell(maps[self.config.tuned_behind])
        return self.assemble(grid, self.word_scores(pooled), chances, meaning)

    def expected_meaning(self, pixels: Tensor) -> Tensor:
        """What captions of the images probably mean (B, 384), from pixels (B, S, S, 3).

        Its cosine with `caption_meaning` is how well image and caption match, seen apart.
        """
        return self.foretell(self.encoder.map_at(self.config.tuned_behind, normalize(pixels)))

    def foretell(self, seen: Tensor) -> Tensor:
        """`expected_meaning` from the maps at stride `config.tuned_behind`, (B, C, h, w)."""
        meaning: Tensor = self.image_meaning(pool(self.meaning_end(seen)))
        return meaning

    def assemble(self, grid: Tensor, words: Tensor, chances: Tensor, meaning: Tensor) -> Tensor:
        """Encoded images (B, n, d) from the parts that training keeps cached.

        grid (B, 36, `GRID_WIDTH`); words (B, words) share of captions expected to say each word;
        chances (B, 1000) ImageNet probabilities; meaning (B, 384) expected caption meaning.
        """
        batch, d = len(grid), self.config.width
        cells = self.projector((grid - self.grid_mean) * self.grid_scale)
        cells = cells * self.grid_gain + self.grid_position
        bos = self.lm.embed_tokens.weight[self.config.bos_token].expand(batch, 1, d)
        # Rank by how far a word stands above its usual share, or "man" and "dog" win everywhere.
        _, top = (words / (self.word_prior + 0.01).sqrt()).topk(self.config.words_kept)
        share = words.gather(1, top).clamp(0, 1)
        said = self.word_embeddings[top] + self.word_role[0] + share[..., None] * self.word_role[1]
        chance, best = chances.topk(self.config.classes_kept)
        named = self.class_embeddings[best] + self.class_role[0]
        named = named + chance[..., None] * self.class_role[1]
        vectors = torch.stack(
            [F.normalize(meaning, dim=-1), F.normalize(self._class_meaning(chances), dim=-1)], dim=1
        )
        summary = self.meaning_token(vectors.flatten(1))[:, None]
        # Of a caption alone the judge has a taste too: what is general is seldom wrong.
        asked = F.normalize(self.judge_map(vectors[:, :1]), dim=-1) + self.judge_taste
        rows = F.pad(torch.cat([vectors, asked], 1), (0, d - self.config.meaning))
        return torch.cat([bos, cells, said, named, summary, rows], dim=1)

    def _class_meaning(self, chances: Tensor) -> Tensor:
        """Mean sentence embedding of the likely classes (B, 384), as in ConSE."""
        value, index = chances.topk(10)
        return (value[..., None] * self.class_meaning[index]).sum(1)

    # -- scoring ------------------------------------------------------------------------------

    def caption_meaning(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Centred sentence embeddings (B, 384) of captions in the sentence encoder's tokens (B, S).

        Mean over the tokens' last states, scaled to unit length, less the mean of the training
        captions.
        """
        states = self.sentence(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[..., None].to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1).clamp_min(1)
        return F.normalize(mean, dim=-1) - self.meaning_center

    def score_logits(self, image_embeds: Tensor, captions: Captions) -> Tensor:
        """Logits over the scores 0..100, all metrics in one pass: (B, M, 101) float32.

        image_embeds (B, n, d) from `encode_images`. A pair's logits do not depend on the batch.
        """
        mask = captions.mask
        batch, width = mask.shape
        places = torch.arange(width, device=mask.device).expand(batch, width)
        count = mask.sum(1, keepdim=True)
        metrics = len(METRICS)
        packed = Packed(
            ids=torch.cat([captions.ids * mask, captions.ids.new_zeros(batch, metrics)], 1),
            positions=torch.cat([places, count.expand(batch, metrics)], 1),
            query=torch.cat(
                [
                    torch.full_like(places, -1),
                    torch.arange(metrics, device=mask.device).expand(batch, metrics),
                ],
                1,
            ),
            segment=torch.cat(
                [torch.where(mask, 0, -1), torch.zeros_like(count).expand(batch, metrics)], 1
            ),
        )
        meaning = self.caption_meaning(captions.sentence_ids, captions.sentence_mask)
        return self.score_packed(image_embeds, packed, meaning[:, None])[0][:, 0]

    def score_packed(
        self, image_embeds: Tensor, packed: Packed, meaning: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`score_logits` for C captions per image in one sequence.

        meaning (B, C, 384) from `caption_meaning`. Returns logits (B, C, M, 101) and the language
        model's last states (B, P, d). Every caption must have its M query tokens, in order.
        """
        agreement, judged = self._agreement(meaning, image_embeds)
        hidden = self._read(image_embeds, packed, agreement)
        asked = hidden[packed.query >= 0].view(*meaning.shape[:2], len(METRICS), -1)
        weights = torch.einsum("bcmd,mkd->bcmk", asked, self.score_head)
        return self._logits(weights, agreement, judged), hidden

    def glance_logits(self, image_embeds: Tensor, meaning: Tensor) -> Tensor:
        """What the score head makes of the agreement alone, without the language model.

        image_embeds (B, n, d) from `encode_images`, of which the meaning vectors count; meaning
        (B, C, 384) from `caption_meaning`. Returns logits (B, C, M, 101). For `itm` close to
        `score_packed`'s; the other metrics are told from what the language model reads.
        """
        return self._logits(0.0, *self._agreement(meaning, image_embeds))

    def _logits(self, weights: Tensor | float, agreement: Tensor, judged: Tensor) -> Tensor:
        """(B, C, M, 101) from the language model's part of the curves and the agreement."""
        weights = weights + torch.einsum("bca,mka->bcmk", agreement, self.agreement_head)
        weights = weights + judged[..., None, None] * self.judge_head
        return ((weights + self.score_bias) @ self.waves.T).float()

    def _agreement(self, meaning: Tensor, image_embeds: Tensor) -> tuple[Tensor, Tensor]:
        """Of captions' meanings (B, C, 384) with encoded images (B, n, d).

        Cosines and their terms (B, C, A), and how well the caption is what the judge asks (B, C).
        """
        size = self.config.meaning
        unit = F.normalize(meaning, dim=-1)
        vectors = image_embeds[:, -MEANING_ROWS - 1 :, :size]
        product = unit[:, :, None] * vectors[:, None]  # (B, C, 3, 384)
        sums, told = product.sum(-1), product[:, :, :MEANING_ROWS].flatten(2)
        agreement = torch.cat([COSINE_GAIN * sums[..., :MEANING_ROWS], size * told], dim=-1)
        return agreement, sums[..., MEANING_ROWS]

    def _read(self, image_embeds: Tensor, packed: Packed, agreement: Tensor) -> Tensor:
        """The language model's last states of the packed tokens, (B, P, d)."""
        tokens = image_embeds[:, : self.config.image_tokens]
        batch, count = tokens.shape[:2]
        text = self.lm.embed_tokens(packed.ids)
        told = agreement @ self.query_agreement.T  # (B, C, d)
        place = packed.segment.clamp_min(0)[..., None].expand(-1, -1, told.shape[-1])
        asked = self.queries[packed.query.clamp_min(0)] + told.gather(1, place)
        text = torch.where((packed.query >= 0)[..., None], asked, text)
        ahead = torch.arange(count, device=text.device).expand(batch, count)
        positions = torch.cat([ahead, packed.positions + count], 1)
        states: Tensor = self.lm(
            inputs_embeds=torch.cat([tokens, text], 1),
            attention_mask=_block_mask(count, packed),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        return states[:, count:]


def distribution(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expected score, most likely score and standard deviation (...) of logits (..., 101)."""
    chances = logits.softmax(-1)
    scores = torch.arange(NUM_SCORES, device=logits.device, dtype=chances.dtype)
    mean = (chances * scores).sum(-1)
    spread = (chances * (scores - mean[..., None]) ** 2).sum(-1).clamp_min(0).sqrt()
    return mean, logits.argmax(-1), spread


def _block_mask(count: int, packed: Packed) -> Tensor:
    """(B, 1, L, L) true where attention is allowed, L = count + P.

    Image tokens are causal among themselves. A text token sees the image and the earlier text of
    its own caption; a query sees these and itself. Padding sees itself only, to stay finite.
    """
    segment, is_query = packed.segment, packed.query >= 0
    batch, length = segment.shape
    order = torch.arange(length, device=segment.device)
    same = (segment[:, :, None] == segment[:, None, :]) & (segment >= 0)[:, :, None]
    text = same & (order[:, None] >= order) & ~is_query[:, None, :]
    text = text | torch.eye(length, dtype=torch.bool, device=segment.device)
    mask = torch.zeros(
        batch, count + length, count + length, dtype=torch.bool, device=segment.device
    )
    ones = torch.ones(count, count, dtype=torch.bool, device=segment.device)
    mask[:, :count, :count] = ones.tril()
    mask[:, count:, :count] = (segment >= 0)[:, :, None]
    mask[:, count:, count:] = text
    return mask[:, None]


def _language_model(config: TinyConfig) -> LlamaModel:
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(
        LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.key_value_heads,
            rope_theta=config.rope_theta,
            rms_norm_eps=config.norm_epsilon,
            max_position_embeddings=2048,
            attn_implementation="sdpa",
        )
    )


def _sentence_encoder(config: TinyConfig) -> BertModel:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=config.sentence_vocabulary,
            hidden_size=config.meaning,
            num_hidden_layers=config.sentence_layers,
            num_attention_heads=config.sentence_heads,
            intermediate_size=config.sentence_feed_forward,
            attn_implementation="sdpa",
        ),
        add_pooling_layer=False,
    )
