"""Images with several captions each."""

from __future__ import annotations

from pairsift.teach.items import Item

SCENES = {
    "dog": (
        "A brown dog runs on the beach with a red ball",
        "The dog is running along the sand near the ocean",
        "A dog carries a ball in its mouth on the beach",
    ),
    "band": (
        "Four men play guitar on a stage in front of a crowd",
        "A rock band performs on stage with bright lights",
        "Musicians with guitars are playing a concert on a stage",
    ),
    "girl": (
        "A young girl in a pink dress climbs a wooden ladder",
        "The girl wearing pink is climbing up the ladder",
        "A child in a dress stands on a ladder in a garden",
    ),
    "snow": (
        "Two skiers in blue jackets ski down a snowy mountain",
        "People are skiing on a steep mountain covered with snow",
        "Two people with skis stand in the snow above a valley",
    ),
}


ITEMS = [Item(f"{name}.jpg", captions) for name, captions in SCENES.items()]
