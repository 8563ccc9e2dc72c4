"""Names that are imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pairsift

PACKAGE = """
from pairsift.lazy import importer
__getattr__ = importer(__name__, {"heavy": ["Thing"]})
"""


def test_a_module_is_imported_when_its_name_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "some" / "heavy.py").write_text("Thing = 7")
    code = (
        "import sys, some\n"
        "assert 'some.heavy' not in sys.modules\n"
        "assert some.Thing == 7 and 'some.heavy' in sys.modules\n"
        "from some import Thing\n"
        "assert not hasattr(some, 'Other')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pairsift' has no attribute 'Nothing'"):
        pairsift.Nothing  # noqa: B018


def test_all_public_names_can_be_imported() -> None:
    for name in pairsift.__all__:
        assert getattr(pairsift, name) is not None
