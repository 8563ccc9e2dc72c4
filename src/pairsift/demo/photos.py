"""Photographs of scikit-image and scikit-learn, with captions.

The captions are ours. Each photo gets a right caption, a wrong one (the right one of another
photo), a vague one that fits almost any image, and boilerplate such as crawled alt text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pairsift.errors import PairsiftError


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph in an installed package, with its captions except the wrong one."""

    package: str
    path: str
    right: str
    vague: str
    boilerplate: str

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def read(self) -> bytes:
        """Return the file's bytes, unchanged.

        Raises:
            PairsiftError: the package is not installed.
        """
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise PairsiftError(
                f"the demo's photographs come with {self.package}, which is not installed: "
                "pip install 'pairsift[demo]'"
            )
        return (Path(spec.origin).parent / self.path).read_bytes()


PHOTOS = (
    Photo(
        "skimage",
        "data/astronaut.png",
        "A smiling woman astronaut in an orange space suit in front of an American flag",
        "A picture of something",
        "IMG_2041.JPG",
    ),
    Photo(
        "skimage",
        "data/chelsea.png",
        "Close-up of the face of a ginger tabby cat with green eyes",
        "A nice photo",
        "stock photo - click to enlarge",
    ),
    Photo(
        "skimage",
        "data/coffee.png",
        "A cup of espresso coffee with a spoon on a saucer on a wooden table",
        "An image from the collection",
        "DSC00017 copy (2)",
    ),
    Photo(
        "skimage",
        "data/rocket.jpg",
        "A white rocket is launched from its pad in a cloud of smoke",
        "One of our favourite moments",
        "Buy now, free shipping on all orders",
    ),
    Photo(
        "skimage",
        "data/motorcycle_left.png",
        "A red motorcycle parked inside a garage beside tools and tyres",
        "Things in a place",
        "photo 3 of 12",
    ),
    Photo(
        "skimage",
        "data/camera.png",
        "A man in a dark coat looks through a camera on a tripod on a field of grass",
        "This is what it looks like",
        "untitled-1.psd",
    ),
    Photo(
        "skimage",
        "data/coins.png",
        "Rows of old round coins laid out on a dark background",
        "Several of them",
        "image placeholder",
    ),
    Photo(
        "skimage",
        "data/hubble_deep_field.jpg",
        "Hundreds of distant galaxies and stars in the black night sky",
        "A view of it",
        "thumbnail_large_final.png",
    ),
    Photo(
        "skimage",
        "data/grass.png",
        "A close view of green blades of grass on a lawn",
        "Some texture",
        "Share on Facebook Tweet Pin it",
    ),
    Photo(
        "skimage",
        "data/brick.png",
        "A wall built of bricks with mortar between them",
        "Part of a thing seen from the front",
        "logo header banner 728x90",
    ),
    Photo(
        "sklearn",
        "datasets/images/china.jpg",
        "A Chinese temple with a curved roof behind green trees under a grey sky",
        "A place worth a visit",
        "JPEG image 640 x 427 pixels",
    ),
    Photo(
        "sklearn",
        "datasets/images/flower.jpg",
        "A large red and yellow dahlia flower in bloom in front of green leaves",
        "Beautiful, isn't it",
        "wp-content/uploads/2014/06/P1010042.jpg",
    ),
)

# Distance in the list to the photo with the wrong caption; similar photos are not so far apart.
_WRONG_OFFSET = 5


def captions() -> Iterator[tuple[Photo, str, str]]:
    """Yield every photo with each of its captions and the caption's kind."""
    for index, photo in enumerate(PHOTOS):
        wrong = PHOTOS[(index + _WRONG_OFFSET) % len(PHOTOS)].right
        yield photo, "right", photo.right
        yield photo, "wrong", wrong
        yield photo, "vague", photo.vague
        yield photo, "boilerplate", photo.boilerplate
