"""Run the frozen image encoder once over the training images and cache its features.

    python training/features.py --data ../shared/data --weights WEIGHTS --out CACHE

For every image of the Flickr8k train and dev splits and of the other domains: the 6 x 6 grid of
fused encoder maps, the pooled vector and the stride-16 map (see
`pairsift.scorers.mlm.tiny.image_features`). The images of other domains get a second view, a random
crop with a jittered aspect ratio; mirrored views need no pass, the maps are mirrored instead. The
test images are never opened.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from pairsift.scorers.mlm.lite import Lite2
from pairsift.scorers.mlm.tiny.features import image_features
from pairsift.scorers.mlm.tiny.preprocess import preprocess
from PIL import Image

import domains
from weights import load_lite2

TARS = {
    "train": ["flickr8k/images_train_part1_3000.tar", "flickr8k/images_train_part2_2999.tar"],
    "dev": ["flickr8k/images_dev_1000.tar"],
}
CROP_AREA = (0.7, 1.0)
CROP_ASPECT = (0.8, 1.25)


def random_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a crop of 70-100 % of the area whose sides are stretched by at most 1.25."""
    area = rng.uniform(*CROP_AREA)
    aspect = np.exp(rng.uniform(*np.log(CROP_ASPECT)))
    wide, high = (min(1.0, float(np.sqrt(area * a))) for a in (aspect, 1 / aspect))
    left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
    width, height = image.size
    box = (left * width, top * height, (left + wide) * width, (top + high) * height)
    return image.crop(tuple(round(edge) for edge in box))


def members(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                handle = tar.extractfile(member)
                if handle is not None:
                    yield Path(member.name).name, handle.read()


def extract(
    encoder: Lite2, images: list[tuple[str, bytes]], out: Path, name: str, crops: int = 0
) -> None:
    """Write `out/name.{names.txt,grid.npy,pooled.npy,middle.npy}`.

    Rows are in the order of `images`, then in the same order for each of the `crops` cropped views.
    """
    count = len(images)

    def load(index: int) -> np.ndarray:
        image = Image.open(io.BytesIO(images[index % count][1])).convert("RGB")
        return preprocess(
            random_crop(image, np.random.default_rng(index)) if index >= count else image
        )

    grids, pooled, middles = [], [], []
    started, batch = time.monotonic(), 8
    with ThreadPoolExecutor(1) as pool, torch.inference_mode():
        total = count * (1 + crops)
        pixels = pool.map(load, range(total))
        for start in range(0, total, batch):
            stack = np.stack([next(pixels) for _ in range(min(batch, total - start))])
            seen = image_features(encoder, torch.from_numpy(stack))
            grids.append(seen.grid.to(torch.float16).numpy())
            pooled.append(seen.pooled.numpy())
            middles.append(seen.maps[16].to(torch.float16).contiguous().numpy())
            if start % 800 == 0:
                rate = (start + batch) / (time.monotonic() - started)
                print(f"{name}: {start} of {total}, {rate:.1f} images/s", flush=True)
    np.save(out / f"{name}.grid.npy", np.concatenate(grids))
    np.save(out / f"{name}.pooled.npy", np.concatenate(pooled))
    np.save(out / f"{name}.middle.npy", np.concatenate(middles))
    (out / f"{name}.names.txt").write_text("\n".join(key for key, _ in images) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    encoder = load_lite2(args.weights)
    for split, tars in TARS.items():
        images = list(members([args.data / tar for tar in tars]))
        extract(encoder, images, args.out, split)
    phrases = domains.stamp_phrases(args.data)
    for domain, tar in domains.TARS.items():
        images = list(members([args.data / tar]))
        images = [entry for entry in images if domain != "stamps" or entry[0] in phrases]
        seen = [entry for entry in images if not domains.is_held_out(entry[0])]
        held = [entry for entry in images if domains.is_held_out(entry[0])]
        extract(encoder, seen, args.out, domain, crops=1)
        extract(encoder, held, args.out, f"{domain}_held")


if __name__ == "__main__":
    main()
