"""Everything that `docs/reference/python.md` lists has an example in its docstring, which runs.

The page's own Python block makes the folders `pool` and `scores`; each example starts with them
and with nothing but its object imported.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
PATHS = re.findall(r"^::: ([\w.]+)$", PAGE.read_text("utf-8"), re.MULTILINE)
# What an example of a module needs beside the core.
EXTRAS = {
    "pairsift.integrations.datasets": ("datasets",),
    "pairsift.integrations.daft": ("daft",),
    "pairsift.integrations.datatrove": ("datatrove",),
    "pairsift.integrations.torchmetrics": ("torchmetrics",),
    "pairsift.serve.server": (
        "fastapi",
        "httpcore2",
        "prometheus_client",
        "python_multipart",
        "uvicorn",
    ),
}
_SECTION = re.compile(r"^Examples:\n(?P<body>(?:\n|    .*\n?)+)", re.MULTILINE)


def find(path: str) -> Any:
    """The object; skips where an extra that it needs is not installed."""
    module, _, name = path.rpartition(".")
    for package in EXTRAS.get(module, ()):
        pytest.importorskip(package)
    return getattr(importlib.import_module(module), name)


def examples(docstring: str | None) -> list[doctest.Example]:
    """The statements of a docstring's section "Examples", which the site shows as code."""
    section = _SECTION.search(inspect.cleandoc(docstring or "") + "\n")
    return doctest.DocTestParser().get_examples(section["body"]) if section else []


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's Python block has run."""
    folder = tmp_path_factory.mktemp("reference")
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in code:
            exec(compile(block, str(PAGE), "exec"), {})
    return folder


def test_there_is_something_to_run() -> None:
    assert len(PATHS) > 30
    assert len(set(PATHS)) == len(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_example_runs(
    path: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = find(path)
    found = examples(thing.__doc__)
    assert found, f"{path}: its docstring needs a section Examples with lines that begin with >>>"
    shutil.copytree(folders, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    names = {path.rpartition(".")[2]: thing}
    test = doctest.DocTest(found, names, path, inspect.getsourcefile(thing), 0, None)
    told: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def test_skipped_examples_say_why() -> None:
    for path in PATHS:
        lines = inspect.cleandoc(find_source(path)).splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            if "+SKIP" in line and "+SKIP" not in before:
                assert before.lstrip().startswith(">>> # Not run: "), f"{path}: {line}"


def find_source(path: str) -> str:
    """The source of the module of a listed object, without importing it."""
    module = path.rpartition(".")[0].replace(".", "/")
    file = PAGE.parents[2] / "src" / f"{module}.py"
    file = file if file.is_file() else file.with_suffix("") / "__init__.py"
    return file.read_text("utf-8")


@pytest.mark.parametrize(
    "docstring",
    [
        None,
        "Do it.",
        "Do it.\n\n>>> 1\n1\n",  # not in the section
        "Do it.\n\nExample:\n    >>> 1\n    1\n",  # which the site would not show as code
        "Do it.\n\nExamples:\n    Nothing to run.\n",
        "Do it.\n\nExamples:\n    Words.\n\nRaises:\n    ValueError: >>> 1\n",
    ],
)
def test_a_docstring_without_example_is_found(docstring: str | None) -> None:
    assert not examples(docstring)


def test_examples_are_read_to_the_end_of_their_section() -> None:
    found = examples("""Do it.

    Examples:
        >>> 1
        1

        >>> 2
        2

    Raises:
        ValueError: never.
    """)
    assert [example.source for example in found] == ["1\n", "2\n"]
