"""Draw wrong captions from other images, for data that has only right captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Enough for all but a slice in which nearly all captions are of one image or of one wording.
_TRIES = 50


def draw_wrong(
    images: Sequence[str], captions: Sequence[str], slices: Sequence[str], seed: int = 0
) -> list[str | None]:
    """A caption of another image for each row, at random from the row's own slice.

    Within a slice, a right caption does not win for its language or its style. Some of these
    captions are true all the same: nobody looked whether they are wrong.

    Args:
        images, captions, slices: of every row.
        seed: decides which; the order of the rows does too.

    Returns:
        the caption; None where the slice has none of another image that is worded differently.
    """
    rng = np.random.default_rng(seed)
    image = np.unique(np.asarray(images, object), return_inverse=True)[1]
    # Case and spaces make no other caption.
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
