"""Words of English captions: how they are split, compared and grouped.

The lists are short on purpose. They cover what captions of everyday photographs say, and each word
can be replaced or recognised without parsing the sentence.
"""

from __future__ import annotations

import re


def _list(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOPWORDS = _list(
    "a an the is are was were be been being am of to in on at by for with from into onto over "
    "under up down out off as and or but while that this these those it its his her their he she "
    "they we you i there has have had do does who which what where when near next front behind "
    "beside through around along across some another other one's very just also both"
)

SWAPS: dict[str, tuple[tuple[str, ...], ...]] = {
    kind: tuple(tuple(re.split(r"\s*,\s*", group)) for group in groups)
    for kind, groups in {
        "object": (
            "dog, cat, horse, cow, sheep, bird, elephant, rabbit, goat, pig, bear, monkey, duck",
            "dogs, cats, horses, cows, birds, elephants, rabbits, goats, ducks",
            "beach, street, field, forest, mountain, pool, lake, kitchen, park, desert, stage, "
            "river, ocean, playground, sidewalk, road, bedroom, garden, bridge, cave",
            "ball, frisbee, stick, bicycle, skateboard, guitar, camera, umbrella, book, phone, "
            "bottle, rope, car, truck, boat, bench, chair, table, kite, laptop, cake, motorcycle, "
            "surfboard, bus, train",
        ),
        "person": ("man, woman, boy, girl, baby", "men, women, boys, girls"),
        "attribute": (
            "black, white, red, blue, green, yellow, brown, orange, pink, purple, gray",
            "shirt, jacket, hat, dress, coat, shorts, pants, jeans, helmet, sweater, sunglasses, "
            "vest, scarf",
            "young, old",
            "small, large, tiny, huge",
            "wooden, metal, plastic, glass, brick",
        ),
        "count": ("one, two, three, four, five, six, seven, ten",),
        "action": (
            "running, jumping, sitting, standing, walking, swimming, sleeping, climbing, riding, "
            "eating, dancing, crying, digging, fighting, throwing, reading, drinking, cooking",
            "runs, jumps, sits, stands, walks, swims, sleeps, climbs, plays, eats, dances, digs, "
            "reads, drinks",
        ),
        "relation": (
            "above, below",
            "inside, outside",
            "over, under",
            "up, down",
            "into, out of",
            "in front of, behind",
            "left, right",
            "with, without",
        ),
    }.items()
}
"""Groups of words that fit the same place in a sentence, by topic; a swap makes a caption wrong."""

BROADER = {
    "an animal": "dog dogs cat cats horse horses cow sheep bird birds elephant",
    "a person": "man woman men women",
    "a child": "boy girl boys girls baby child children",
    "people": "people crowd group",
    "a vehicle": "car truck bus train boat bike bicycle motorcycle",
    "a place outdoors": "beach snow mountain field forest river lake ocean",
}
"""A broader term, and the words that it includes."""

ROLES = _list(
    "firefighter firefighters policeman police officer soldier soldiers doctor nurse teacher "
    "student students chef cook waiter waitress bride groom bridesmaid priest monk pilot sailor "
    "fisherman farmer surgeon musician guitarist drummer singer dancer ballerina clown artist "
    "painter photographer referee goalie goalkeeper quarterback pitcher batter lifeguard cowboy "
    "athlete player players cheerleader cheerleaders skateboarder snowboarder skier surfer biker "
    "cyclist hiker hikers climber swimmer jogger tourist tourists vendor mechanic carpenter "
    "businessman president queen king mayor actor actress performer performers acrobat"
)
RELATIVES = _list(
    "mother father mom dad parent parents son daughter brother sister brothers sisters twin twins "
    "grandmother grandfather grandma grandpa wife husband couple family friend friends teammate "
    "teammates colleagues classmates neighbor owner owners boyfriend girlfriend"
)
OCCASIONS = _list(
    "wedding birthday festival parade concert race marathon competition tournament championship "
    "game match ceremony graduation funeral protest demonstration picnic vacation holiday "
    "christmas halloween easter thanksgiving carnival fair rodeo contest performance rehearsal "
    "interview lesson practice training celebration party celebrating celebrates celebrate "
    "competing competes waiting waits preparing prepares trying tries rescuing protesting "
    "performing rehearsing winning wins losing because"
)
DATES = _list(
    "january february april june july august september october november december monday tuesday "
    "wednesday thursday friday saturday sunday"
)

_WORD = re.compile(r"[a-z0-9']+")
_ENDINGS = ("ing", "ies", "es", "ed", "s", "y")


def words(text: str) -> list[str]:
    """Return a caption's words in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def content_words(text: str) -> list[str]:
    """Return the words that carry content: no stop words, no single letters."""
    return [word for word in words(text) if word not in STOPWORDS and len(word) > 1]


def stem(word: str) -> str:
    """Return a rough stem, enough to match "running" with "runs"."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def stems(texts: list[str] | tuple[str, ...]) -> frozenset[str]:
    """Return the stems of all words of the texts."""
    return frozenset(stem(word) for text in texts for word in words(text))
