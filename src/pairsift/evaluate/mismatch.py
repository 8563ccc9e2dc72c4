"""Draw wrong captions from other images, for data that has only right captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Attempts per row; enough unless nearly all captions of a slice have the same image or wording.
_TRIES = 50


def draw_wrong(
    images: Sequence[str], captions: Sequence[str], slices: Sequence[str], seed: int = 0
) -> list[str | None]:
    """Draw a caption of another image for each row, at random from the row's own slice.

    Within a slice, right and wrong captions have the same language and style. Some of the captions
    drawn may be true, because they were not checked.

    Args:
        images, captions, slices: one per row.
        seed: decides the draw, together with the order of the rows.

    Returns:
        The caption; None if the slice has no other image with a different caption.
    """
    rng = np.random.default_rng(seed)
    image = np.unique(np.asarray(images, object), return_inverse=True)[1]
    # Captions that differ only in case and spaces count as equal.
    plain = np.array([" ".join(caption.casefold().split()) for caption in captions], object)
    wording = np.unique(plain, return_inverse=True)[1]
    of = np.unique(np.asarray(slices, object), return_inverse=True)[1]
    order = np.argsort(of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(of))[:-1]) if len(of) else []
    drawn: list[str | None] = []
    for row in range(len(captions)):
        own = members[of[row]]
        fits = -1
        for other in rng.choice(own, _TRIES):
            if image[other] != image[row] and wording[other] != wording[row]:
                fits = int(other)
                break
        if fits < 0:
            rest = own[(image[own] != image[row]) & (wording[own] != wording[row])]
            fits = int(rng.choice(rest)) if len(rest) else -1
        drawn.append(captions[fits] if fits >= 0 else None)
    return drawn
