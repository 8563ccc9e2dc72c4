"""The whole measurement, in real processes, from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pairsift.cli import main
from pairsift.errors import PairsiftError
from pairsift.evaluate.cost.clip_shapes import SHAPES, ClipShape
from pairsift.evaluate.cost.run import Options, evaluate_cost
from tests.samples import good_samples, write_tar

SMALL = ClipShape("small", 32, 16, (16, 1, 2), (16, 1, 2), 16)


@pytest.fixture
def shard(tmp_path: Path) -> str:
    return str(write_tar(tmp_path / "00000.tar", good_samples(9)))


@pytest.mark.slow
def test_every_kind_of_scorer_is_measured_in_one_run(
    tmp_path: Path,
    shard: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(SHAPES, "small", SMALL)
    out = tmp_path / "out"
    command = f"pairsift evaluate cost --out {out} --shards {shard} --pairs 3 --rounds 2"
    command += " --scorer heuristics,dual-encoder --scorer pairsift-tiny --clip-shape small"
    command += " --baseline dual-encoder --devices 8 --price-per-hour 2 --device cpu"
    monkeypatch.setattr(sys, "argv", command.split())
    main()
    shown = capsys.readouterr().out
    assert "CLIPScore small (random)" in shown
    assert "Projected time on 8 devices, and cost at 2 a device and hour" in shown

    result = json.loads((out / "result.json").read_text())
    scorers = {entry["scorer"]: entry for entry in result["scorers"]}
    assert list(scorers) == ["heuristics", "dual-encoder", "pairsift-tiny", "CLIPScore small"]
    for entry in scorers.values():
        rate = entry["pairs_per_second"]
        assert 0 < rate["low"] <= rate["value"] <= rate["high"]
        milliseconds = entry["prepare_ms"]["value"] + entry["score_ms"]["value"]
        assert rate["low"] * 0.99 <= 1000 / milliseconds <= rate["high"] * 1.01
        smallest, largest = entry["projections"][0], entry["projections"][-1]
        assert largest["pairs"] == 1000 * smallest["pairs"] == 12.8e9
        assert largest["seconds"] == pytest.approx(12.8e9 / rate["value"] / 8)
        assert largest["cost"] == pytest.approx(2 * largest["device_hours"])
    assert scorers["dual-encoder"]["times_baseline"] == {"value": 1, "low": 1, "high": 1}
    # No model and no torch: its process shows it.
    light, heavy = scorers["heuristics"], scorers["pairsift-tiny"]
    assert light["gflop_per_pair"] == 0
    assert light["fraction_of_peak"] is None
    assert light["peak_memory_mib"] < 300 < heavy["peak_memory_mib"]
    # The language model comes on top of the encoders that both share.
    assert heavy["gflop_per_pair"] > scorers["dual-encoder"]["gflop_per_pair"] > 1
    assert 0 < heavy["fraction_of_peak"] < 1
    assert scorers["CLIPScore small"]["random_weights"]
    assert result["facts"]["threads"] == 1

    table = (out / "table.md").read_text()
    assert "random weights; the cost is real" in table
    assert all(f"- {assumption}" in table for assumption in result["assumptions"])


def test_mistakes_are_found_before_anything_is_loaded(tmp_path: Path) -> None:
    def measure(**given: object) -> None:
        evaluate_cost(str(tmp_path), Options(**given))  # type: ignore[arg-type]

    with pytest.raises(PairsiftError, match="heuristics is given twice"):
        measure(scorers=["heuristics", "heuristics"])
    with pytest.raises(PairsiftError, match="nothing to measure"):
        measure(scorers=[])
    with pytest.raises(PairsiftError, match="'clip' is not measured"):
        measure(scorers=["heuristics"], baseline="clip")
    with pytest.raises(PairsiftError, match="at least 16"):
        measure(scorers=["heuristics"], pairs=12, captions_per_image=4)
