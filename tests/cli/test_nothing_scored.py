"""A run in which every pair failed exits with code 4 and one sentence, whatever its size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.samples import good_samples, jpeg, write_tar
from tests.support.commands import pairsift


def _pool(tmp_path: Path, samples: dict[str, dict[str, bytes | str]]) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    items = list(samples.items())
    half = (len(items) + 1) // 2
    for shard, part in enumerate((items[:half], items[half:])):
        if part:
            write_tar(folder / f"{shard}.tar", part)
    return folder


def _no_image(count: int) -> dict[str, dict[str, bytes | str]]:
    return {f"k{index:05d}": {"txt": "a dog"} for index in range(count)}


@pytest.mark.parametrize("count", [1, 40, 999])
def test_every_pair_failed_for_one_reason(tmp_path: Path, count: int) -> None:
    pool, out = _pool(tmp_path, _no_image(count)), tmp_path / "out"
    done = pairsift("score", pool, "--scorer", "heuristics", "--out", out)
    assert done.returncode == 4
    [line] = done.stderr.splitlines()
    assert line.startswith(f"pairsift: no pair was scored: all {count} failed with image_missing")
    assert "first: 0/k00000: image_missing" in line
    assert f"pairsift status {out} --failures" in line
    assert len(list(out.glob("*.parquet"))) == min(count, 2)
    listed = json.loads(pairsift("status", out, "--failures", "--json").stdout)
    assert listed["counts"] == {"image_missing": count}


def test_every_pair_failed_for_several_reasons(tmp_path: Path) -> None:
    samples = _no_image(5) | {"z": {"jpg": jpeg(16, 16), "txt": "  "}}
    pool = _pool(tmp_path, samples)
    done = pairsift("score", pool, "--scorer", "heuristics", "--out", tmp_path / "out")
    assert done.returncode == 4
    assert "all 6 failed: 5 image_missing, 1 caption_empty" in done.stderr


def test_more_than_the_guard_needs_with_any_rate_allowed(tmp_path: Path) -> None:
    pool, out = _pool(tmp_path, _no_image(1200)), tmp_path / "out"
    command = ("score", pool, "--scorer", "heuristics", "--out", out)
    stopped = pairsift(*command)
    assert stopped.returncode == 2
    assert "samples failed, more than --max-failure-rate" in stopped.stderr
    assert pairsift(*command, "--max-failure-rate", "1").returncode == 4


def test_one_good_pair_is_a_run(tmp_path: Path) -> None:
    pool = _pool(tmp_path, _no_image(30) | good_samples(1))
    done = pairsift("score", pool, "--scorer", "heuristics", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "30  image_missing: the sample has no image" in done.stdout
    assert "to see them: pairsift status" in done.stdout


def test_the_pipeline_stops_and_says_why(tmp_path: Path) -> None:
    pool = _pool(tmp_path, _no_image(20))
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/run"\n[score]\nshards = ["{pool}"]\nscorer = "heuristics"\n'
        '[select]\ntop = 0.5\nby = "smaller_side"\n'
    )
    done = pairsift("run", tmp_path / "run.toml")
    assert done.returncode == 4
    [line] = done.stderr.splitlines()
    assert "all 20 failed with image_missing" in line
    assert len(list((tmp_path / "run" / "scores").glob("*.parquet"))) == 2


@pytest.mark.slow
def test_the_ray_engine_does_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs pairsift[ray]")
    pool, out = _pool(tmp_path, _no_image(20)), tmp_path / "out"
    done = pairsift("score", pool, "--scorer", "heuristics", "--out", out, "--engine", "ray")
    assert done.returncode == 4
    assert "all 20 failed with image_missing" in done.stderr
    assert "first: " in done.stderr


def test_the_pipeline_tells_shards_that_could_not_be_read(tmp_path: Path) -> None:
    pool = _pool(tmp_path, good_samples(4))
    (pool / "2.tar").write_bytes(b"no tar" * 1000)
    (tmp_path / "run.toml").write_text(
        f'out = "{tmp_path}/run"\n[score]\nshards = ["{pool}"]\nscorer = "heuristics"\n'
        '[select]\ntop = 0.5\nby = "smaller_side"\n'
    )
    done = pairsift("run", tmp_path / "run.toml")
    assert done.returncode == 3
    assert "2 of 4 pairs kept" in done.stdout
    assert "1 shards could not be read" in done.stderr
