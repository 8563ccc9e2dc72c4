"""What mkdocs does not do by itself: new guides, the command line's reference, root pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

COMMANDS = "<!-- commands -->"
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
    if found := PAGE.search(markdown):
        markdown = (DOCS.parent / found[1]).read_text("utf-8")
        markdown = markdown.replace("(ARCHITECTURE.md)", "(architecture.md)")
    return markdown


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
