"""What mkdocs does not do by itself: new guides, the command line's reference, root pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

COMMANDS = "<!-- commands -->"
SECTIONS = "<!-- sections -->"
PAGE = re.compile(r"<!-- page: (\w+\.md) -->")
DOCS = Path(__file__).parent


def on_config(config: Any) -> Any:
    """Put every guide into the navigation that is not there yet."""
    guides: list[str] = next(item["Guides"] for item in config.nav if "Guides" in item)
    found = sorted(f"guides/{path.name}" for path in (DOCS / "guides").glob("*.md"))
    guides.extend(name for name in found if name not in guides)
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the command line's reference, and pages that live at the repository's root."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    if SECTIONS in markdown:
        markdown = markdown.replace(SECTIONS, sections())
    if found := PAGE.search(markdown):
        markdown = (DOCS.parent / found[1]).read_text("utf-8")
        markdown = markdown.replace("(ARCHITECTURE.md)", "(architecture.md)").replace("(docs/", "(")
    return markdown


def sections() -> str:
    """Every section of the file of `pairsift run` with its keys, from the steps' options."""
    import dataclasses
    from typing import get_args, get_type_hints

    from typing_extensions import Doc

    from pairsift.options import (
        DedupOptions,
        NegClipLossOptions,
        NormSimOptions,
        ReportOptions,
        ScoreOptions,
        SelectOptions,
        SemanticDuplicatesOptions,
        WriteOptions,
    )
    from pairsift.writers.registry import BUILT_IN

    files = {entry.name: f"`{entry.file}`. " for entry in BUILT_IN}
    steps = {
        "score": ScoreOptions, "dedup": DedupOptions, "normsim": NormSimOptions,
        "neg_clip_loss": NegClipLossOptions, "semantic_duplicates": SemanticDuplicatesOptions,
        "select": SelectOptions, "write": WriteOptions, "report": ReportOptions,
    }  # fmt: skip
    parts = []
    for name, options in steps.items():
        rows = ["| key | default | |", "|---|---|---|"]
        hints = get_type_hints(options, include_extras=True)
        for field in dataclasses.fields(options):
            notes = get_args(hints[field.name])
            told = next(note.documentation for note in notes if isinstance(note, Doc))
            told = told.replace(", joined by commas", ", as a list")
            if name == "write":
                told = files.get(field.name, "") + told
            default: Any = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = {}
            elif default is dataclasses.MISSING:
                default = "needed"
            shown = "" if default in (None, (), {}, "") else f"`{default}`"
            rows.append(f"| `{field.name}` | {shown} | {_cell(told)} |")
        parts.append(f"## [{name}]\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def commands() -> str:
    """Every command with its options, from the parser itself."""
    import typer

    from pairsift.cli import app

    root: Any = typer.main.get_command(app)
    return "\n\n".join(_describe(root.commands[name], f"pairsift {name}") for name in root.commands)


def _describe(command: Any, path: str) -> str:
    if children := getattr(command, "commands", None):
        inner = "\n\n".join(_describe(children[name], f"{path} {name}") for name in children)
        return f"## {path}\n\n{command.help or ''}\n\n{inner}"
    level = "##" if path.count(" ") == 1 else "###"
    rows = ["| option | default | |", "|---|---|---|"]
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        option = parameter.param_type_name == "option"
        name = ", ".join(parameter.opts) if option else parameter.name.upper()
        rows.append(
            f"| `{name}` | {_default(parameter)} | {_cell(getattr(parameter, 'help', ''))} |"
        )
    return f"{level} {path}\n\n{command.help or ''}\n\n" + "\n".join(rows)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, False, (), []):
        return ""
    return f"`{parameter.default}`"


def _cell(words: str | None) -> str:
    return " ".join((words or "").split()).replace("|", "\\|")
