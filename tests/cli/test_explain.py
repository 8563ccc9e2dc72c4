"""`explain` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pairsift.cli import main
from tests.samples import CAPTION, jpeg


def test_a_folder_is_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pairsift", "explain", str(tmp_path), CAPTION])
    with pytest.raises(SystemExit):
        main()
    assert f"{tmp_path} is a folder; explain reads one image file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_scores_of_a_pair_are_printed_as_text_or_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(jpeg())
    monkeypatch.setattr("sys.argv", ["pairsift", "explain", str(image), CAPTION])
    main()
    assert "Image-text matching" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["pairsift", "explain", str(image), CAPTION, "--json"])
    main()
    result = json.loads(capsys.readouterr().out)
    assert len(result["metrics"][0]["probabilities"]) == 101


def test_an_image_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pairsift", "explain", str(tmp_path / "none.jpg"), CAPTION])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert f"cannot read {tmp_path / 'none.jpg'}: No such file or directory" in told
