"""Draw the pictures of these documents: python docs/pictures.py

The photographs are those of the demo that anyone may use: they come with scikit-image, whose
documentation says of each that it is in the public domain (astronaut: NASA; rocket: SpaceX) or
CC0 (chelsea: Stefan van der Walt; coffee: Rachel Michetti). The scores are pairsift-tiny's own.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from pairsift import Pair, load_scorer
from pairsift.demo.photos import PHOTOS, captions
from pairsift.metrics import METRICS

FOLDER = Path(__file__).parent / "images"
FREE = ("astronaut", "chelsea", "coffee", "rocket")
INK, SOFT, LINE = "#1f2430", "#5b6472", "#d7dbe2"
COLOURS = {"itm": "#3b6fb6", "odf": "#2f8f6b", "ctq": "#b4691f", "su": "#8a4fae"}
KINDS = {"right": "#2f8f6b", "wrong": "#b6403b", "vague": "#b4891f", "boilerplate": "#6b7280"}

Shown = dict[str, tuple[str, ...]]
SHOWN: Shown = {
    "chelsea": (
        "Close-up of the face of a ginger tabby cat with green eyes",
        "A cat",
        "Close-up of the face of a black dog with blue eyes",
        "ginger cat face cat tabby eyes pet buy now !!",
        "IMG_2041.JPG",
    ),
}
LIMITS: Shown = {
    "astronaut": (
        "Eileen Collins of NASA in an orange space suit in front of an American flag",
        "A smiling woman in an orange suit",
        "A cup of espresso on a saucer",
    ),
}


def svg(width: int, height: int, parts: Iterable[str], title: str) -> str:
    """A picture on white, which reads on dark pages too."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def text(x: float, y: float, words: str, anchor: str = "start", fill: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'
    )


def thumbnail(name: str, side: int = 200) -> str:
    photo = next(photo for photo in PHOTOS if photo.name == name)
    image = Image.open(io.BytesIO(photo.read())).convert("RGB")
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=72)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def wrap(words: str, length: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) + 1 > length and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_metrics(shown_photos: Shown) -> str:
    """Each photo with captions of several kinds, and a bar for each metric."""
    scorer = load_scorer("pairsift-tiny")
    parts = []
    left, bar, row = 470, 82, 44
    for index, (name, metric) in enumerate(METRICS.items()):
        x = left + index * (bar + 22)
        parts.append(text(x, 24, name, fill=COLOURS[name]))
        parts.append(text(x, 40, metric.title.split()[0].lower(), fill=SOFT))
    y = 58.0
    for photo_name, shown in shown_photos.items():
        photo = next(photo for photo in PHOTOS if photo.name == photo_name)
        table = scorer.score([Pair(str(n), photo.read(), c) for n, c in enumerate(shown)])
        height = row * len(shown)
        parts.append(
            f'<image x="14" y="{y}" width="150" height="{min(height - 10, 130)}" '
            f'preserveAspectRatio="xMidYMin meet" href="{thumbnail(photo_name)}"/>'
        )
        for caption, scores in zip(shown, table.to_pylist(), strict=True):
            for n, line in enumerate(wrap(caption, 42)):
                parts.append(text(180, y + 15 + 16 * n, line))
            for index, metric_name in enumerate(METRICS):
                x, value = left + index * (bar + 22), scores[metric_name]
                parts.append(
                    f'<rect x="{x}" y="{y + 5}" width="{bar}" height="12" rx="2" fill="#eef0f4"/>'
                    f'<rect x="{x}" y="{y + 5}" width="{bar * value / 100:.1f}" height="12" rx="2" '
                    f'fill="{COLOURS[metric_name]}"/>'
                )
                parts.append(text(x, y + 32, f"{value:.0f}", fill=SOFT))
            y += row
        y += 14
    return svg(890, round(y), parts, "Scores of a photograph's captions on four metrics")


def axis(left: float, top: float, width: float, height: float, label: str) -> list[str]:
    parts = [
        f'<line x1="{left}" y1="{top + height}" x2="{left + width}" y2="{top + height}" '
        f'stroke="{LINE}"/>'
    ]
    for tick in range(0, 101, 20):
        parts.append(text(left + width * tick / 100, top + height + 17, str(tick), "middle", SOFT))
    parts.append(text(left + width / 2, top + height + 34, label, "middle", SOFT))
    return parts


def area(values: Sequence[float], left: float, top: float, width: float, height: float) -> str:
    points = [
        f"{left + width * n / (len(values) - 1):.1f},{top + height * (1 - value):.1f}"
        for n, value in enumerate(values)
    ]
    return " ".join([f"{left},{top + height}", *points, f"{left + width},{top + height}"])


def draw_distributions() -> str:
    """What the filter believes about a right, a vague and a wrong caption of one photo."""
    from pairsift.scorers.mlm.tiny.scorer import TinyScorer

    scorer = load_scorer("pairsift-tiny", metrics="itm")
    assert isinstance(scorer, TinyScorer)
    photo = next(photo for photo in PHOTOS if photo.name == "coffee")
    shown = {
        "right": "A cup of espresso with a spoon on a saucer",
        "vague": "A picture of something",
        "wrong": "Two dogs run through the snow",
    }
    found = scorer.distributions([Pair(k, photo.read(), c) for k, c in shown.items()])[:, 0]
    peak = found.max()
    parts = [f'<image x="14" y="20" width="150" height="110" href="{thumbnail("coffee")}"/>']
    for index, (kind, caption) in enumerate(shown.items()):
        shape = area(found[index] / peak, 200, 18, 480, 150)
        parts.append(
            f'<polygon points="{shape}" fill="{KINDS[kind]}" fill-opacity="0.25" '
            f'stroke="{KINDS[kind]}"/>'
        )
        mean = float((found[index] * np.arange(101)).sum())
        y = 228 + 20 * index
        parts.append(f'<rect x="200" y="{y - 11}" width="12" height="12" fill="{KINDS[kind]}"/>')
        parts.append(
            text(220, y, f"{caption}: expected {mean:.0f}, most likely {found[index].argmax()}")
        )
    parts += axis(200, 18, 480, 150, "itm")
    return svg(700, 285, parts, "Distribution over the scores 0 to 100 for three captions")


def draw_thresholds() -> str:
    """Which kinds of captions a threshold on itm keeps, over the demo's 48 pairs."""
    rows = list(captions())
    pairs = [Pair(str(n), photo.read(), caption) for n, (photo, _, caption) in enumerate(rows)]
    itm = np.array(load_scorer("pairsift-tiny", metrics="itm").score(pairs)["itm"])
    kinds = np.array([kind for _, kind, _ in rows])
    parts = axis(60, 20, 520, 180, "threshold: pairs with itm at or above it are kept")
    for share in (0, 50, 100):
        y = 20 + 180 * (1 - share / 100)
        parts.append(f'<line x1="60" y1="{y}" x2="580" y2="{y}" stroke="{LINE}"/>')
        parts.append(text(52, y + 4, f"{share} %", "end", SOFT))
    for index, (kind, colour) in enumerate(KINDS.items()):
        scores = itm[kinds == kind]
        kept = [(scores >= threshold).mean() for threshold in range(101)]
        points = area(kept, 60, 20, 520, 180).split(" ")[1:-1]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        parts.append(
            f'<rect x="600" y="{30 + 22 * index}" width="12" height="12" fill="{colour}"/>'
        )
        parts.append(text(618, 41 + 22 * index, kind))
    return svg(720, 245, parts, "Share of captions of four kinds that a threshold keeps")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in (
        ("metrics", lambda: draw_metrics(SHOWN)),
        ("limits", lambda: draw_metrics(LIMITS)),
        ("distributions", draw_distributions),
        ("thresholds", draw_thresholds),
    ):
        (FOLDER / f"{name}.svg").write_text(draw(), "utf-8")


if __name__ == "__main__":
    main()
