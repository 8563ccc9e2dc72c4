"""Look at a prompt pack with a model: the tokens of its answers, and one scored pair."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image, ImageDraw

from pairsift.errors import PairsiftError
from pairsift.pair import Pair, Status
from pairsift.scorers.mlm.scorer import MLMScorer

EXAMPLE_CAPTION = "a red circle on a white background"
_SIDE = 224
_SHOWN = 8
#: Below it, most of what the model would say is none of the answers.
_DOUBTFUL = 0.5


@dataclass(frozen=True, slots=True)
class MetricCheck:
    """One metric of a pack, as a model reads it.

    Attributes:
        answers: the answers in words.
        tokens: for each spelling, its value and its tokens as the tokenizer spells them.
        reads: positions at which next-token probabilities are read.
        prompt: the end of the prompt, right before the answer.
        score, top, std, validity: of the example pair.
    """

    name: str
    title: str
    asks: str
    answers: str
    tokens: dict[str, tuple[float, tuple[str, ...]]]
    reads: int
    prompt: str
    score: float
    top: float
    std: float
    validity: float

    def text(self) -> str:
        """Lines for people."""
        shown = list(self.tokens.items())
        if len(shown) > _SHOWN:
            shown = [*shown[:3], *shown[-3:]]
        lines = [
            f"{self.name}  {self.title}: {self.asks}",
            f"  answers: {self.answers}; read at {self.reads} positions behind {self.prompt!r}",
            *(
                f"    {spelling!r} = {value:g}: {' '.join(map(repr, tokens))}"
                for spelling, (value, tokens) in shown
            ),
        ]
        if len(shown) < len(self.tokens):
            lines.insert(5, f"    ... {len(self.tokens) - len(shown)} more ...")
        lines.append(
            f"  example: {self.name} {self.score:.4g}, {self.name}_top {self.top:g}, "
            f"{self.name}_std {self.std:.3g}, {self.name}_validity {self.validity:.3g}"
        )
        if self.validity < _DOUBTFUL:
            lines.append(
                f"  this model gives one of the answers with a probability of {self.validity:.2g} "
                "only: ask for them more clearly, or add the spellings that it uses"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class PackCheck:
    """A pack as a model reads it."""

    pack: str
    caption: str
    metrics: Sequence[MetricCheck]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Lines for people."""
        count = len(self.metrics)
        head = f"prompt pack {self.pack}: {count} metric{'s' if count > 1 else ''}, one pass"
        example = f"example: {self.caption!r}, with a picture of it"
        return "\n\n".join([f"{head}; {example}", *(metric.text() for metric in self.metrics)])


def check_pack(
    scorer: MLMScorer, image: bytes | None = None, caption: str | None = None
) -> PackCheck:
    """Look at the pack of a loaded scorer.

    Args:
        image: encoded image of the example; None for a drawn one.
        caption: caption of the example; None for the drawn one's.

    Raises:
        PairsiftError: the example cannot be scored.
    """
    caption = EXAMPLE_CAPTION if caption is None else caption
    pair = Pair("example", example_image() if image is None else image, caption)
    [row] = scorer.score([pair]).to_pylist()
    if row["status"] != Status.OK.value:
        raise PairsiftError(f"the example cannot be scored: {row['status']}: {row['error']}")
    checks = [_check(scorer, index, name, row) for index, name in enumerate(scorer.metrics)]
    return PackCheck(scorer.pack.name, caption, checks)


def _check(scorer: MLMScorer, index: int, name: str, row: dict[str, Any]) -> MetricCheck:
    metric = scorer.pack.metric(name)
    trie, encoder = scorer.tries[index], scorer.encoder
    tokenizer = scorer.backbone.tokenizer
    before = encoder.prompt_ids("a", index)[-6:]
    return MetricCheck(
        name=name,
        title=metric.title,
        asks=metric.asks,
        answers=metric.scale.describe(),
        tokens={
            text: (
                answer.value,
                tuple(tokenizer.convert_ids_to_tokens(encoder.answer_ids(text, index))),
            )
            for answer in metric.scale.answers
            for text in answer.spellings
        },
        reads=trie.nodes,
        prompt=str(tokenizer.decode([token for token in before if token != encoder.image_marker])),
        score=row[name],
        top=row[f"{name}_top"],
        std=row[f"{name}_std"],
        validity=row[f"{name}_validity"],
    )


def example_image() -> bytes:
    """Draw the picture of :data:`EXAMPLE_CAPTION`, as a PNG."""
    image = Image.new("RGB", (_SIDE, _SIDE), "white")
    ImageDraw.Draw(image).ellipse((40, 40, _SIDE - 40, _SIDE - 40), fill="red")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
