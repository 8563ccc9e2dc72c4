"""Prompt packs on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift.cli import main
from pairsift.metrics import METRICS
from pairsift.scorers.mlm.prompt_files import load_prompts, parse_pack

SCRIPT = '''
raise SystemExit("an imported script must never run")
LLAVA_INSTRUCTION_TEMPLATE = """Text Caption: {caption}

{criteria}
How good is the {aspect}?"""
criteria_image_text_matching = "Does it match?"
criteria_object_detail_fulfillment = "Are details right?"
criteria_cation_text_quality = "Is it fluent?"
criteria_semantic_understanding = "Does it add knowledge?"
'''


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["pairsift", "prompts", *arguments])
    main()


def test_show_prints_a_pack_that_can_be_read_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, "show")
    assert parse_pack(capsys.readouterr().out, "stdout") == load_prompts()


def test_imported_script_is_parsed_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, pack = tmp_path / "inference.py", tmp_path / "pack.toml"
    script.write_text(SCRIPT)
    _run(monkeypatch, "import", str(script), "--out", str(pack))
    found = load_prompts(pack)
    assert tuple(found.metrics) == tuple(METRICS)
    assert found.metrics["ctq"].criteria == "Is it fluent?"
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        _run(monkeypatch, "import", str(script), "--out", str(pack))
    assert stop.value.code == 2
    assert "exists" in capsys.readouterr().err
