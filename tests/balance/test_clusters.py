"""Captions about one thing share a cluster."""

from __future__ import annotations

from collections import Counter

import pytest

from pairsift.balance.clusters import cluster_captions
from pairsift.teach.embed import HashingVectorizer
from tests.balance.conftest import teacher_records


@pytest.mark.slow
def test_captions_about_one_thing_share_a_cluster() -> None:
    pytest.importorskip("sklearn")
    captions = [record.caption for record in teacher_records(200)] + ["", "..."]
    clusters = cluster_captions(captions, HashingVectorizer(), 5)
    assert clusters.shape == (202,)
    pure = sum(
        Counter(
            text.split()[1]
            for c, text in zip(clusters, captions, strict=True)
            if c == cluster and text.startswith("a ")
        ).most_common(1)[0][1]
        for cluster in set(clusters[:200].tolist())
    )
    assert pure >= 180  # most clusters are about one thing
    assert set(cluster_captions(["one", "one"], HashingVectorizer(), 64)) == {0}
