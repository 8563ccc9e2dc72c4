"""The embedded filter, `pairsift-tiny`; `model` says how it is built."""

from pairsift import moved

# As little as this is imported by decode workers, which never need torch.
__getattr__ = moved.renamed(
    __name__,
    {
        "NUM_SCORES": "config.NUM_SCORES",
        "TinyConfig": "config.TinyConfig",
        "image_features": "features.image_features",
        "TinyModel": "model.TinyModel",
        "distribution": "model.distribution",
    },
)
