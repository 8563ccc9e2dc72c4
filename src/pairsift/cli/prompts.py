"""`pairsift prompts`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pairsift.errors import PairsiftError

prompts = typer.Typer(
    help="Show and import prompt packs: the questions that a multimodal model is asked.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    app.add_typer(prompts, name="prompts")


@prompts.command("import")
def import_(
    script: Annotated[
        Path, typer.Argument(help="The published inference script. It is parsed but never run.")
    ],
    out: Annotated[Path | None, typer.Option(help="TOML file to write; default: stdout.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the pack; default: the name of the script.")
    ] = None,
) -> None:
    """Extract the prompts that a checkpoint was trained with from its published script."""
    from pairsift.scorers.mlm.prompt_files import dump_pack, import_reference_prompts
    from pairsift.storage import output_file

    text = dump_pack(import_reference_prompts(script, name))
    if out is None:
        typer.echo(text, nl=False)
        return
    if os.path.lexists(out):
        raise PairsiftError(f"{out} already exists; choose another --out, or remove it first")
    folder, file = output_file(out)
    folder.create()
    folder.write(file, text.encode())
    typer.echo(f"prompt pack written to {out}")


@prompts.command()
def show(
    pack: Annotated[
        str | None, typer.Argument(help="A .toml file; default: the built-in pack.")
    ] = None,
) -> None:
    """Print a prompt pack."""
    from pairsift.scorers.mlm.prompt_files import dump_pack, load_prompts

    typer.echo(dump_pack(load_prompts(pack)), nl=False)
