"""File names of images in the exported folder."""

from __future__ import annotations

from pairsift.balance.export import file_name
from tests.samples import jpeg, png


def test_file_names_stay_in_their_folder() -> None:
    assert file_name("../../etc/passwd", jpeg(4, 4)) == "_.._etc_passwd.jpg"
    assert file_name("00000/000000012", png(4, 4)) == "00000_000000012.png"
    assert file_name("a b.jpg", None) == "a_b.jpg"
