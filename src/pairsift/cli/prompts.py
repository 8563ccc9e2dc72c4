"""`pairsift prompts`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pairsift.cli.common import Json, emit
from pairsift.cli.options import with_options
from pairsift.errors import PairsiftError
from pairsift.options import Device, Dtype, Metrics
from pairsift.sources.files import refuse_special

prompts = typer.Typer(
    help="Write, check, show and import prompt packs: the questions that a model is asked.",
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

    text = dump_pack(import_reference_prompts(script, name))
    if out is None:
        typer.echo(text, nl=False)
        return
    _write(out, text)


@prompts.command()
def show(
    pack: Annotated[
        str | None,
        typer.Argument(help="A .toml file, or pairsift, compact or vqascore; default: pairsift."),
    ] = None,
) -> None:
    """Print a prompt pack."""
    from pairsift.scorers.mlm.prompt_files import dump_pack, load_prompts

    typer.echo(dump_pack(load_prompts(pack)), nl=False)


@prompts.command()
def new(
    file: Annotated[Path, typer.Argument(help="TOML file to write.")],
) -> None:
    """Write a prompt pack to start from: an example of every kind of answer, with comments."""
    from importlib import resources

    example = resources.files("pairsift.scorers.mlm").joinpath("example_pack.toml")
    _write(file, example.read_text("utf-8"))
    typer.echo(f"check it with a model: pairsift prompts check {file} --model MODEL")


@prompts.command()
@with_options()
def check(
    pack: Annotated[str, typer.Argument(help="A .toml file, or pairsift, compact or vqascore.")],
    model: Annotated[
        str, typer.Option(help="Multimodal model to check the pack with: a folder or a hub name.")
    ],
    image: Annotated[
        Path | None,
        typer.Option(help="Image of the example to score; default: a generated picture."),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(help="Caption of the example; default: that of the generated picture."),
    ] = None,
    metrics: Metrics = None,
    device: Device = None,
    dtype: Dtype = None,
    json: Json = False,
) -> None:
    """Show which tokens a model's tokenizer makes of the answers, and score one example."""
    from pairsift.scorers.mlm.prompt_files import load_prompts

    loaded = load_prompts(pack)  # its mistakes are told before a model is loaded
    if (image is None) != (caption is None):
        raise PairsiftError("give --image and --caption together, or neither")
    from pairsift.scorers.mlm.load import load_mlm_scorer
    from pairsift.scorers.mlm.pack_check import check_pack

    content = None
    if image is not None:
        refuse_special(os.fspath(image))
        try:
            content = image.read_bytes()
        except OSError as error:
            raise PairsiftError(f"cannot read {image}: {error.strerror}") from None
    scorer = load_mlm_scorer(
        model, prompts=loaded, metrics=metrics, device=device or "auto", dtype=dtype or "auto"
    )
    found = check_pack(scorer, content, caption)
    emit(found.to_json(), json, found.text())


def _write(path: Path, text: str) -> None:
    from pairsift.storage import output_file

    if os.path.lexists(path):
        raise PairsiftError(f"{path} exists; choose another file, or remove it first")
    folder, file = output_file(path)
    folder.create()
    folder.write(file, text.encode())
    typer.echo(f"prompt pack written to {path}")
