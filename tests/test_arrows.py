"""Imports go the way that ARCHITECTURE.md says, and no two files import each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "pairsift"


def module_name(path: Path) -> str:
    parts = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules of the package that are imported at run time, inside functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module
        yield from imports(node)


GRAPH = {
    name: {found for found in imports(ast.parse(path.read_text("utf-8"))) if found in MODULES}
    for name, path in MODULES.items()
}


def package(name: str) -> str:
    """What a module belongs to in the list of layers; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


def layers() -> dict[str, int]:
    """Height of each package, from the block in ARCHITECTURE.md; the lowest line is 0."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    block = re.search(r"```layers\n(.*?)```", text, re.DOTALL)
    assert block, "ARCHITECTURE.md has no block ```layers"
    lines = block[1].strip().splitlines()
    return {name: height for height, line in enumerate(lines[::-1]) for name in line.split()}


LAYERS = layers()


def test_every_package_has_its_layer() -> None:
    packages = {package(name) for name in MODULES} - {"", "__main__"}
    assert packages == LAYERS.keys()


def test_every_package_is_described() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("```layers")[0]
    named = set(re.findall(r"`([a-z_]+)/?`", text))
    assert {package(name) for name in MODULES} - {"", "__main__"} <= named


def test_files_to_look_into_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("```layers")[0]
    files = set(re.findall(r"`([a-z_/]+/[a-z_]+\.py)`", text)) - {"tests/test_arrows.py"}
    assert len(files) > 5
    assert [name for name in files if not (SOURCE / name).is_file()] == []


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_imports_go_down(name: str) -> None:
    wrong = [
        f"{module} imports {found}"
        for module, all_found in GRAPH.items()
        for found in sorted(all_found)
        if package(module) == name and package(found) not in ("", name)
        if LAYERS[package(found)] >= LAYERS[name]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_two_files_import_each_other() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as cycle:
        pytest.fail(f"files that import each other: {' -> '.join(cycle.args[1])}")
