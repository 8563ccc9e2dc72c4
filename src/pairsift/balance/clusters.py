"""Cluster captions by meaning, or by words if no sentence encoder is installed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pairsift.errors import PairsiftError
from pairsift.teach.embed import Embedder


def cluster_captions(
    captions: Sequence[str], embedder: Embedder, clusters: int, seed: int = 0
) -> NDArray[np.intp]:
    """Cluster captions by k-means over their embeddings.

    Args:
        clusters: the most clusters; there are fewer if there are fewer distinct captions.

    Returns:
        The cluster of each caption, shape (len(captions),).

    Raises:
        PairsiftError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise PairsiftError(
            "clusters need scikit-learn: pip install 'pairsift[balance]', or --clusters 1"
        ) from error
    distinct = sorted(set(captions))
    index = {caption: place for place, caption in enumerate(distinct)}
    vectors = embedder(distinct)
    count = min(clusters, len(np.unique(vectors, axis=0)))
    model = MiniBatchKMeans(count, random_state=seed, batch_size=4096, n_init=3)
    labels = model.fit_predict(vectors)
    found: NDArray[np.intp] = np.asarray(labels, np.intp)[[index[caption] for caption in captions]]
    return found
