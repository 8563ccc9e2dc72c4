"""`pairsift-tiny`: a multimodal filter that is small enough for the package.

    pixels ── Lite2 ──┬─ 6 x 6 grid ── projector ──────────────┐
                      ├─ words it probably contains ──────────┤
                      ├─ ImageNet classes ────────────────────┼─ image tokens ─┐
                      └─ meaning vectors, by an end tuned ────┘                │
                         to tell captions apart                                │
    caption ── tokens ─────────────────────────────────────────────────────────┼─ first layers of
      │     four learned query tokens, one per metric ─────────────────────────┘  SmolLM2-135M
      │                            │                                           │
      ├─ MiniLM ─ caption meaning ─┴─ agreement with the image's meanings ─────┤
      └─ word pieces ──── evidence for them, by the tuned end ─────────────────┤
                                                                               │
                                       scores 0..100 as logits, one distribution per metric

The language model reads `image tokens, caption, query` causally. A query attends to the image, the
caption and itself, but not to other queries, so a metric's score does not depend on which others
are requested. The similarity of the image's meaning vectors and the caption's sentence embedding,
as in a dual encoder, is an input of the queries and of the score head. A linear map of the image's
meaning is compared with the embedding too. It adjusts the scores, together with the evidence for
the words of the caption: how much more likely than usual they are for this image. Some images are
near to all captions and some captions to all images. So what is usual is taken off: the mean cosine
of the image with the nearest of `config.known` captions, and of the caption with the nearest of as
many images (cross-domain similarity local scaling, CSLS, arXiv 1710.04087).

Shapes: B pairs, S pixels a side (256), n rows of an encoded image, d the model width (576),
T caption tokens, M metrics (4, in the order of `METRICS`), 101 scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pairsift.errors import PairsiftError
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.lite import FEATURE_WIDTHS, NUM_CLASSES, Lite2, SecondEnd, draw, normalize
from pairsift.scorers.mlm.tiny.captions import Captions, Packed
from pairsift.scorers.mlm.tiny.config import (
    COSINE_GAIN,
    GRID_SIDE,
    GRID_WIDTH,
    MEANING_ROWS,
    NEAREST,
    NUM_SCORES,
    POOLED_WIDTH,
    UNSURE,
    TinyConfig,
)
from pairsift.scorers.mlm.tiny.features import few, image_features, pool
from pairsift.scorers.mlm.tiny.language import LanguageModel, SentenceEncoder, block_mask
from pairsift.scorers.mlm.tiny.preprocess import preprocess
from pairsift.scorers.mlm.tiny.quantized import quantized_layers
from pairsift.scorers.mlm.tiny.weights import read_tensors, write_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image


class TinyModel(nn.Module):
    """The model; see the module docstring. Load it with `from_pretrained`."""

    grid_mean: Tensor
    grid_scale: Tensor
    word_prior: Tensor
    word_embeddings: Tensor
    class_embeddings: Tensor
    class_meaning: Tensor
    meaning_center: Tensor
    said_pieces: Tensor
    said_place: Tensor
    said_pairs: Tensor
    said_skipped: Tensor
    pair_keys: Tensor
    waves: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.computes_in = torch.float32
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
        # Rows: an embedding of the token's kind, and the direction that encodes its probability.
        self.word_role = nn.Parameter(torch.zeros(2, d))
        self.class_role = nn.Parameter(torch.zeros(2, d))
        self.meaning_end = SecondEnd(config.tuned_behind)
        self.image_meaning = nn.Linear(POOLED_WIDTH, meaning)
        self.meaning_token = nn.Linear(MEANING_ROWS * meaning, d)
        self.lm = LanguageModel(config)
        self.queries = nn.Parameter(torch.zeros(len(METRICS), d))
        draw(self.queries, 0.1)
        self.sentence = SentenceEncoder(config)
        self.register_buffer("meaning_center", torch.zeros(meaning))
        self.score_head = nn.Parameter(torch.zeros(len(METRICS), config.curve, d))
        agreement = MEANING_ROWS * (1 + meaning)
        self.agreement_head = nn.Parameter(torch.zeros(len(METRICS), config.curve, agreement))
        self.query_agreement = nn.Parameter(torch.zeros(d, agreement))
        self.score_bias = nn.Parameter(torch.zeros(len(METRICS), config.curve))
        self.judge_map = nn.Linear(meaning, meaning)
        self.judge_taste = nn.Parameter(torch.zeros(meaning))
        self.judge_head = nn.Parameter(torch.zeros(len(METRICS), config.curve))
        if config.said:
            self.evidence = nn.Linear(POOLED_WIDTH, config.words_told)
            self.register_buffer("said_pieces", torch.zeros(config.said, dtype=torch.int64))
        if config.said_pairs:
            pairs = torch.zeros(config.said_pairs, 2, dtype=torch.int64)  # in ascending order
            self.register_buffer("said_pairs", pairs)
            skipped = torch.zeros(config.sentence_vocabulary, dtype=torch.bool)
            self.register_buffer("said_skipped", skipped)
        if config.novelty:
            self.novelty = nn.Linear(FEATURE_WIDTHS[-1], 1)
        if config.known:
            self.known_captions = nn.Linear(meaning, config.known, bias=False)
            self.known_images = nn.Linear(meaning, config.known, bias=False)
            self.usual_of_image = nn.Parameter(torch.zeros(()))
            self.usual_of_caption = nn.Parameter(torch.zeros(()))
        if not self.meaning_center.is_meta:
            self.compute_constants()

    def compute_constants(self) -> None:
        """Set what the configuration and the known words define and no file holds."""
        steps = (torch.arange(NUM_SCORES) + 0.5) / NUM_SCORES
        waves = torch.cos(torch.pi * steps[:, None] * torch.arange(1, self.config.curve + 1))
        self.register_buffer("waves", waves, persistent=False)
        if self.config.said:
            unsaid = self.said_pieces.new_full((self.config.sentence_vocabulary,), self.config.said)
            order = torch.arange(self.config.said, device=unsaid.device)
            place = unsaid.scatter(0, self.said_pieces, order)
            self.register_buffer("said_place", place, persistent=False)
        if self.config.said_pairs:
            keys = self.said_pairs @ self.said_pairs.new_tensor(
                [self.config.sentence_vocabulary, 1]
            )
            self.register_buffer("pair_keys", keys, persistent=False)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Compute the encoders and the language model in `dtype`, from now on and for good."""
        self.computes_in = dtype
        self.encoder.round_to(dtype)
        self.meaning_end.round_to(dtype)

    def _quick(self) -> AbstractContextManager[object]:
        """Compute the encoders and the language model in `computes_in`.

        Similarities and score heads stay float32.
        """
        if self.computes_in == torch.float32:
            return nullcontext()  # some of training has an autocast of its own around the model
        return torch.autocast(self.meaning_center.device.type, self.computes_in)

    # -- loading and saving -------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, directory: str | Path, quantized: bool = False) -> TinyModel:
        """Load config.json and model.safetensors from a folder, in eval mode.

        Args:
            quantized: leave the linear layers and token embeddings as the file has them. This takes
                a third of the memory on a CPU. Such a model is not for training.

        Raises:
            PairsiftError: a file cannot be read, or the tensors are not exactly those of the
                configured model (the error names those that are missing, left over or of a wrong
                shape).
        """
        folder = Path(directory)
        config = TinyConfig.load(folder / "config.json")
        with torch.device("meta"):
            model = cls(config)
            layers = quantized_layers(model) if quantized else {}
        tensors = read_tensors(folder / "model.safetensors", keep=layers)
        for weight in layers.keys() & tensors.keys():
            model.set_submodule(*layers[weight])
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
        model.compute_constants()
        for part in (model.encoder, model.meaning_end):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.eval()

    def save_pretrained(self, directory: str | Path, version: str, quantize: bool = True) -> None:
        """Write config.json and model.safetensors; `quantize` as in `tiny.weights`."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save(folder / "config.json", version)
        write_tensors(folder / "model.safetensors", self.state_dict(), quantize)

    # -- the image side -----------------------------------------------------------------------

    def preprocess(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Convert one image to uint8 (S, S, 3); see `tiny.preprocess.preprocess`."""
        return preprocess(image, self.config.input_side)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Encode uint8 RGB pixels (B, S, S, 3) as (B, n, d).

        The first `config.image_tokens` rows are tokens; then `MEANING_ROWS` rows hold the meaning
        vectors, of unit length, and one the vector of the judge, padded with zeros to the width.
        The last rows hold the evidence for words, the novelty and what is usual for the image.
        """
        with self._quick():
            seen = [self._see(some) for some in few(pixels)]
        grid, pooled, tuned = map(torch.cat, zip(*seen, strict=True))
        chances = self.encoder.classifier(pooled[:, : FEATURE_WIDTHS[-1]]).softmax(-1)
        meaning = self.image_meaning(tuned)
        encoded = self.assemble(grid, self.word_scores(pooled), chances, meaning)
        values = [self.evidence(tuned)] if self.config.said else []
        if self.config.novelty:
            values.append(self.novelty(pooled[:, : FEATURE_WIDTHS[-1]]))
        if self.config.known:
            values.append(self.usual_of_image * _nearness(meaning, self.known_captions))
        flat = torch.cat([encoded.flatten(1), *values], 1)
        padded = F.pad(flat, (0, -flat.shape[1] % self.config.width))
        return padded.view(len(flat), -1, self.config.width)

    def _see(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Grid and pooled vector of the frozen encoder, and pooled vector of the tuned end."""
        grid, pooled, maps = image_features(self.encoder, pixels)
        return grid, pooled, pool(self.meaning_end(maps[self.config.tuned_behind]))

    def _told(self, image_embeds: Tensor) -> Tensor:
        """The values behind the rows of `assemble`, (B, words + novelty + usual and padding)."""
        return image_embeds[:, self.config.image_tokens + MEANING_ROWS + 1 :].flatten(1)

    def image_novelty(self, image_embeds: Tensor) -> Tensor:
        """How surely an image is no photograph, 0..1 (B,), of encoded images (B, n, d).

        For a model with `config.novelty`.
        """
        return self._told(image_embeds)[:, self.config.words_told].sigmoid()

    def expected_meaning(self, pixels: Tensor) -> Tensor:
        """Predict the mean meaning of the images' captions (B, 384), from pixels (B, S, S, 3).

        Its cosine with `caption_meaning` is how well image and caption match, encoded separately.
        """
        behind = self.config.tuned_behind
        return self.foretell(self.encoder.map_at(behind, normalize(some)) for some in few(pixels))

    def foretell(self, seen: Iterable[Tensor]) -> Tensor:
        """Compute `expected_meaning` from maps, some images (B, C, h, w) after the other, of stride
        `config.tuned_behind`.
        """
        with self._quick():
            pooled = torch.cat([pool(self.meaning_end(maps)) for maps in seen])
        meaning: Tensor = self.image_meaning(pooled)
        return meaning

    def assemble(self, grid: Tensor, words: Tensor, chances: Tensor, meaning: Tensor) -> Tensor:
        """Build encoded images, less evidence and novelty, from parts that training caches.

        grid (B, 36, `GRID_WIDTH`); words (B, words) predicted fraction of captions with each word;
        chances (B, 1000) ImageNet probabilities; meaning (B, 384) predicted caption meaning.
        """
        batch, d = len(grid), self.config.width
        cells = self.projector((grid - self.grid_mean) * self.grid_scale)
        cells = cells * self.grid_gain + self.grid_position
        first = torch.full((batch, 1), self.config.bos_token, device=grid.device)
        # Rank by how far a word is above its usual fraction; otherwise "man" and "dog" always win.
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
        # The judge also rates a caption alone, because general captions are seldom wrong.
        asked = F.normalize(self.judge_map(vectors[:, :1]), dim=-1) + self.judge_taste
        rows = F.pad(torch.cat([vectors, asked], 1), (0, d - self.config.meaning))
        bos = self.lm.embed_tokens(first)
        return torch.cat([bos, cells, said, named, summary, rows], dim=1)

    def _class_meaning(self, chances: Tensor) -> Tensor:
        """Return the mean sentence embedding of the likely classes (B, 384), as in ConSE."""
        value, index = chances.topk(10)
        return (value[..., None] * self.class_meaning[index]).sum(1)

    # -- scoring ------------------------------------------------------------------------------

    def caption_meaning(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return centred sentence embeddings (B, 384) of captions in the sentence encoder's tokens
        (B, S).

        This is the mean over the tokens' last states, scaled to unit length, minus the mean of the
        training captions.
        """
        with self._quick():
            states = self.sentence(ids, mask).float()
        weight = mask[..., None].to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1).clamp_min(1)
        return F.normalize(mean, dim=-1) - self.meaning_center

    def caption_words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Weight of each known word piece and pair in captions, (B, W), of tokens (B, S).

        Each counts once. The pieces share a weight of 1 with `UNSURE` unknown ones, and so do the
        pairs. Two pieces are a pair if nothing lies between them but pieces of `said_skipped`:
        articles, punctuation and the like.
        """
        config = self.config
        if not config.said:
            return self.meaning_center.new_zeros(len(ids), 0)
        places = [(self.said_place[ids].masked_fill(~mask, config.said), config.said)]
        if config.said_pairs:
            kept = mask & ~self.said_skipped[ids]
            order = (~kept).byte().argsort(dim=1, stable=True)
            rest, kept = ids.gather(1, order), kept.gather(1, order)
            keys = rest[:, :-1] * config.sentence_vocabulary + rest[:, 1:]
            at = torch.searchsorted(self.pair_keys, keys).clamp_max(config.said_pairs - 1)
            known = kept[:, 1:] & (self.pair_keys[at] == keys)
            places.append((at.masked_fill(~known, config.said_pairs), config.said_pairs))
        weights = []
        for place, count in places:
            none = self.meaning_center.new_zeros(len(ids), count + 1)
            found = none.scatter(1, place, 1.0)[:, :count]
            weights.append(found / (found.sum(1, keepdim=True) + UNSURE))
        return torch.cat(weights, 1)

    def read_caption(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return all that scoring needs of captions (B, R), in the sentence encoder's tokens
        (B, S): `caption_meaning`, `caption_words` and what is usual for the caption.
        """
        return self.read_meaning(self.caption_meaning(ids, mask), ids, mask)

    def read_meaning(self, meaning: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return `read_caption` of captions whose `caption_meaning` (B, 384) is known."""
        read = [meaning, self.caption_words(ids, mask)]
        if self.config.known:
            read.append(self.usual_of_caption * _nearness(meaning, self.known_images))
        return torch.cat(read, 1)

    def score_logits(self, image_embeds: Tensor, captions: Captions) -> Tensor:
        """Return logits over the scores 0..100, all metrics in one pass: (B, M, 101) float32.

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
        read = self.read_caption(captions.sentence_ids, captions.sentence_mask)
        return self.score_packed(image_embeds, packed, read[:, None])[0][:, 0]

    def score_packed(
        self, image_embeds: Tensor, packed: Packed, read: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute `score_logits` for C captions per image in one sequence.

        read (B, C, R) from `read_caption`. Returns logits (B, C, M, 101) and the language
        model's last states (B, P, d). Every caption must have its M query tokens, in order.
        """
        agreement, judged = self._agreement(read, image_embeds)
        hidden = self._read(image_embeds, packed, agreement)
        # Sorted instead of selected, which would wait for the device to count them.
        count = read.shape[1] * len(METRICS)
        places = (packed.query < 0).byte().argsort(dim=1, stable=True)[:, :count, None]
        asked = hidden.gather(1, places.expand(-1, -1, hidden.shape[-1]))
        asked = asked.view(*read.shape[:2], len(METRICS), -1)
        weights = torch.einsum("bcmd,mkd->bcmk", asked, self.score_head)
        return self._logits(weights, agreement, judged), hidden

    def glance_logits(self, image_embeds: Tensor, read: Tensor) -> Tensor:
        """Return what the score head makes of the similarity alone, without the language model.

        image_embeds (B, n, d) from `encode_images`, of which only the rows after the tokens are
        used; read (B, C, R) from `read_caption`. Returns logits (B, C, M, 101). For `itm`
        they are close to those of `score_packed`; the others depend on the language model.
        """
        return self._logits(0.0, *self._agreement(read, image_embeds))

    def _logits(self, weights: Tensor | float, agreement: Tensor, judged: Tensor) -> Tensor:
        """Return (B, C, M, 101) from the language model's part of the curves and the similarity."""
        weights = weights + torch.einsum("bca,mka->bcmk", agreement, self.agreement_head)
        weights = weights + judged[..., None, None] * self.judge_head
        return ((weights + self.score_bias) @ self.waves.T).float()

    def _agreement(self, read: Tensor, image_embeds: Tensor) -> tuple[Tensor, Tensor]:
        """Compare captions (B, C, R), from `read_caption`, with encoded images (B, n, d).

        Returns cosines and their terms (B, C, A), and the score of the judge with the evidence for
        the words, less what is usual (B, C).
        """
        size, said, first = self.config.meaning, self.config.words_told, self.config.image_tokens
        meaning, words = read[..., :size], read[..., size : size + said]
        unit = F.normalize(meaning, dim=-1)
        vectors = image_embeds[:, first : first + MEANING_ROWS + 1, :size]
        product = unit[:, :, None] * vectors[:, None]  # (B, C, 3, 384)
        sums, told = product.sum(-1), product[:, :, :MEANING_ROWS].flatten(2)
        agreement = torch.cat([COSINE_GAIN * sums[..., :MEANING_ROWS], size * told], dim=-1)
        values = self._told(image_embeds)
        judged = sums[..., MEANING_ROWS] + torch.einsum("bcw,bw->bc", words, values[:, :said])
        if self.config.known:
            judged = judged - values[:, said + self.config.novelty, None] - read[..., -1]
        return agreement, judged

    def _read(self, image_embeds: Tensor, packed: Packed, agreement: Tensor) -> Tensor:
        """Return the language model's last states of the packed tokens, (B, P, d)."""
        tokens = image_embeds[:, : self.config.image_tokens]
        batch, count = tokens.shape[:2]
        text = self.lm.embed_tokens(packed.ids)
        told = agreement @ self.query_agreement.T  # (B, C, d)
        place = packed.segment.clamp_min(0)[..., None].expand(-1, -1, told.shape[-1])
        asked = self.queries[packed.query.clamp_min(0)] + told.gather(1, place)
        text = torch.where((packed.query >= 0)[..., None], asked, text)
        ahead = torch.arange(count, device=text.device).expand(batch, count)
        positions = torch.cat([ahead, packed.positions + count], 1)
        with self._quick():
            states: Tensor = self.lm(
                torch.cat([tokens, text], 1), block_mask(count, packed), positions
            )
        return states[:, count:].float()


def _nearness(meaning: Tensor, known: nn.Module) -> Tensor:
    """Mean cosine (B, 1) of meanings (B, 384) with the `NEAREST` nearest of known ones.

    The known ones, of unit length, are the rows of `known`'s weight (K, 384).
    """
    with torch.autocast(meaning.device.type, enabled=False):
        cosine: Tensor = known(F.normalize(meaning.float(), dim=-1))
    return cosine.topk(min(NEAREST, cosine.shape[1])).values.mean(1, keepdim=True)


def distribution(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return expected score, most likely score and deviation (...) of logits (..., 101)."""
    chances = logits.softmax(-1)
    scores = torch.arange(NUM_SCORES, device=logits.device, dtype=chances.dtype)
    mean = (chances * scores).sum(-1)
    spread = (chances * (scores - mean[..., None]) ** 2).sum(-1).clamp_min(0).sqrt()
    return mean, logits.argmax(-1), spread
