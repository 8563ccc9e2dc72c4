"""The embedded filter, `pairsift-tiny`; `model` describes its architecture."""

from pairsift import moved

# Names from before the split. Decode workers import only this much, because they need no torch.
_NOW_IN = {
    "config": "COSINE_GAIN GRID_SIDE GRID_WIDTH MEANING_ROWS NUM_SCORES POOLED_WIDTH TinyConfig",
    "features": "Seen image_features pool",
    "model": "TinyModel distribution",
}
__getattr__ = moved.renamed(
    __name__,
    {
        name: f"{__name__}.{module}.{name}"
        for module, names in _NOW_IN.items()
        for name in names.split()
    },
)
