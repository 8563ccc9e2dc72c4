"""Old module names keep working, with a warning that names the new one."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from pairsift.moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_old_module_warns_and_gives_the_new_names(old: str) -> None:
    sys.modules.pop(old, None)
    home, renamed = MOVED[old]
    with pytest.warns(DeprecationWarning, match=home):
        module = importlib.import_module(old)
    new = importlib.import_module(home)
    for before, now in renamed.items():
        assert getattr(module, before) is getattr(new, now)
    public = [name for name, value in vars(new).items() if getattr(value, "__module__", "") == home]
    assert all(getattr(module, name) is getattr(new, name) for name in public)


@pytest.mark.slow
def test_new_modules_import_no_old_one() -> None:
    """Importing every new home warns of nothing."""
    homes = sorted({home for home, _ in MOVED.values()})
    code = "import importlib\n" + "\n".join(f"importlib.import_module({home!r})" for home in homes)
    subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:pairsift", "-c", code], check=True
    )


def test_unknown_names_fail_as_usual() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pairsift.scorers.cascade.nothing")
    old = "pairsift.scorers.cascade.plan"
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=MOVED[old][0]):
        module = importlib.import_module(old)
    with pytest.raises(AttributeError):
        module.NOTHING  # noqa: B018


def test_old_name_in_a_module_warns_and_gives_the_new_one() -> None:
    from pairsift.engines import base

    with pytest.warns(DeprecationWarning, match=r"is now pairsift\.engines\.base\.FailureLimit;"):
        assert base.Guard is base.FailureLimit
    from pairsift.scorers.mlm import tiny

    with pytest.warns(DeprecationWarning, match=r"tiny\.model\.TinyModel"):
        assert tiny.TinyModel.__module__ == "pairsift.scorers.mlm.tiny.model"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        base.Nothing  # noqa: B018
