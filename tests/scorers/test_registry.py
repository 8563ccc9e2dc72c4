"""Every way of asking for a scorer that is not there ends in one helpful line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsift import PairsiftError, load_scorer
from pairsift.scorers.mlm.columns import score_columns
from pairsift.scorers.mlm.prompt_files import PACK_FILE, dump_pack
from pairsift.scorers.registry import check_scorer, entries, known_columns
from tests.scorers.mlm.mixed_pack import PACK


def test_close_name_is_suggested() -> None:
    with pytest.raises(PairsiftError, match="did you mean 'heuristics'"):
        load_scorer("heuristic")


def test_unknown_option_is_named_with_those_there_are() -> None:
    with pytest.raises(PairsiftError, match="'heuristics' takes no option 'prompts'"):
        load_scorer("heuristics", prompts="x.toml")


def test_options_left_at_none_do_not_count() -> None:
    assert load_scorer("heuristics", prompts=None, device=None).name == "heuristics"


def test_zero_is_a_value() -> None:
    with pytest.raises(PairsiftError, match="'heuristics' takes no option 'workers'"):
        load_scorer("heuristics", workers=0)


def test_mistakes_are_found_without_loading() -> None:
    check_scorer("pairsift-tiny", metrics="itm")
    with pytest.raises(PairsiftError, match="'pairsift-tiny' takes no option 'metric'"):
        check_scorer("pairsift-tiny", metric="itm")
    with pytest.raises(PairsiftError, match="'mlm' needs the option 'model'"):
        check_scorer("mlm")


def test_known_columns_are_those_of_the_scorer() -> None:
    assert known_columns("pairsift-tiny") == load_scorer("pairsift-tiny").columns
    assert known_columns("heuristics") is None


def test_a_packs_columns_are_known_without_its_model(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(dump_pack(PACK))
    expected = score_columns([PACK.metric(name) for name in PACK.metrics])
    for scorer in ("mlm", "vllm"):
        assert known_columns(scorer, prompts=str(tmp_path / "pack.toml")) == expected
    assert known_columns("mlm", model=str(tmp_path / "gone")) is None
    assert known_columns("mlm", model=str(tmp_path)) == score_columns()
    (tmp_path / PACK_FILE).write_text(dump_pack(PACK))
    assert known_columns("mlm", model=str(tmp_path)) == expected


def test_folder_without_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match=r"has no config\.json"):
        load_scorer(tmp_path)


def test_unreadable_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{ not json")
    with pytest.raises(PairsiftError, match=r"config\.json is not a readable model configuration"):
        load_scorer(tmp_path)


def test_unknown_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(PairsiftError, match="abacus"):
        load_scorer(tmp_path)


@pytest.mark.parametrize("name", sorted(entries()))
def test_every_entry_can_be_imported(name: str) -> None:
    assert callable(entries()[name].load())
