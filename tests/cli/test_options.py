"""Options of commands from notes: of dataclasses, and of a command's own parameters."""

from __future__ import annotations

import dataclasses
from typing import Annotated, get_args, get_type_hints

import click
import pytest
import typer
from annotated_types import Ge
from typer.testing import CliRunner
from typing_extensions import Doc

from pairsift import options
from pairsift.cli import app
from pairsift.cli.options import with_options
from pairsift.evaluate import options as evaluate
from pairsift.options import Argument
from pairsift.teach import options as teach
from pairsift.train import options as train

MODELS = [
    model
    for module in (options, evaluate, teach, train)
    for model in vars(module).values()
    if dataclasses.is_dataclass(model) and model.__module__ == module.__name__
    if dataclasses.fields(model)
]
# Where an option of the name means another thing.
OWN_MEANING = {"train", "evaluate cost", "evaluate downstream"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paint:
    walls: Annotated[tuple[str, ...], Argument(), Doc("Names of walls.")] = ()
    colours: Annotated[tuple[str, ...], Doc("Names of colours.")]
    coats: Annotated[int, Ge(1), Doc("Number of coats.")] = 2


def _run(*arguments: str, code: int = 0) -> str:
    commands = typer.Typer()

    @commands.command()
    @with_options(paint=Paint)
    def command(
        paint: Paint, tools: Annotated[tuple[str, ...], Doc("Tools.")] = ("brush",)
    ) -> None:
        typer.echo(f"{paint.walls} {paint.colours} {paint.coats} {tools}")

    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == code
    return result.output.strip()


def test_values_are_those_of_the_fields() -> None:
    assert _run("--colours", "red", "--colours", "blue") == "() ('red', 'blue') 2 ('brush',)"
    given = _run(
        "north", "--colours", "red", "--coats", "3", "--tools", "roller", "--tools", "tape"
    )
    assert given == "('north',) ('red',) 3 ('roller', 'tape')"


def test_what_is_needed_is_asked_for_and_shown_first() -> None:
    assert "--colours" in _run(code=2)
    assert "--coats" in _run("--colours", "red", "--coats", "0", code=2)
    shown = _run("--help")
    assert shown.index("--colours") < shown.index("--coats") < shown.index("--tools")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_option_is_described(model: type) -> None:
    for name, hint in get_type_hints(model, include_extras=True).items():
        notes = [note for note in get_args(hint) if isinstance(note, Doc)]
        assert len(notes) == 1, name
        assert notes[0].documentation.endswith("."), name


def _commands(group: click.Group, above: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= _commands(command, f"{above}{name} ")
        else:
            found[above + name] = command
    return found


def test_an_option_of_several_commands_has_one_help_text() -> None:
    commands = _commands(typer.main.get_command(app))  # type: ignore[arg-type]
    for shared in ("kind", "caption_field", "image_field", "captions_file", "separator", "device"):
        texts = {
            parameter.help  # type: ignore[attr-defined]
            for name, command in commands.items()
            for parameter in command.params
            if parameter.name == shared and name not in OWN_MEANING
        }
        assert len(texts) == 1, shared
