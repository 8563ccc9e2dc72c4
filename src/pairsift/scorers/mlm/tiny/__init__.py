"""The embedded filter, `pairsift-tiny`; `model` describes its architecture."""

from pairsift import moved

# Decode workers import only this much, because they never need torch.
__getattr__ = moved.renamed(
    __name__,
    {
        "NUM_SCORES": "pairsift.scorers.mlm.tiny.config.NUM_SCORES",
        "TinyConfig": "pairsift.scorers.mlm.tiny.config.TinyConfig",
        "image_features": "pairsift.scorers.mlm.tiny.features.image_features",
        "TinyModel": "pairsift.scorers.mlm.tiny.model.TinyModel",
        "distribution": "pairsift.scorers.mlm.tiny.model.distribution",
    },
)
