"""The Data-Juicer operator, in real pipelines run by `dj-process`.

Data-Juicer is too heavy for `make test`; `make test-integrations` installs it and runs this file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairsift.integrations.data_juicer import OPERATOR_PATH
from tests.integrations.hurt import Sample, samples
from tests.integrations.scored import between, own_pack, score_folder_of, selected_keys
from tests.support.pages import GUIDES, blocks

pytest.importorskip("data_juicer", reason="needs Data-Juicer: make test-integrations")

PAIRS = samples()
DEFAULT = {"executor_type": "default"}
# Its exporter makes a folder of files, one a block.
RAY = {"executor_type": "ray", "ray_address": "local"}
WHERE = "caption_words >= 4 and smaller_side > 240 and language = 'en'"


def _write_dataset(path: Path, pairs: list[Sample]) -> Path:
    """A Data-Juicer dataset: texts with the tokens of images, images as files."""
    rows = []
    for key, image, caption in pairs:
        (path / f"{key}.img").write_bytes(image)
        rows.append({"key": key, "text": f"<__dj__image> {caption} <|__dj__eoc|>",
                     "images": [str(path / f"{key}.img")]})  # fmt: skip
    rows.append({"key": "no-image", "text": "a brown dog on a beach", "images": []})
    rows.append({"key": "two-images", "text": "a brown dog on a beach",
                 "images": [rows[1]["images"][0]] * 2})  # fmt: skip
    file = path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _process(
    path: Path, dataset: Path, settings: Mapping[str, Any] = DEFAULT, **operator: Any
) -> subprocess.CompletedProcess[str]:
    recipe = {
        **settings,
        "dataset_path": str(dataset),
        "export_path": str(path / "out" / "kept.jsonl"),
        "np": 2,
        "custom_operator_paths": [OPERATOR_PATH],
        "keep_stats_in_res_ds": True,
        "process": [{"pairsift_filter": operator}],
    }
    return _dj_process(path, recipe)


def _dj_process(path: Path, recipe: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    (path / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe)))
    command = [str(Path(sys.executable).with_name("dj-process")), "--config", "recipe.yaml"]
    return subprocess.run(command, cwd=path, capture_output=True, text=True, check=False)


def _rows(path: Path) -> list[dict[str, Any]]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("settings", [DEFAULT, RAY], ids=["default", "ray"])
def test_a_pipeline_keeps_what_select_keeps(tmp_path: Path, settings: Mapping[str, Any]) -> None:
    scores = score_folder_of(tmp_path / "ours", PAIRS, "heuristics")
    expected = selected_keys(scores, tmp_path, PAIRS, where=WHERE)
    assert 3 < len(expected) < 12
    done = _process(
        tmp_path, _write_dataset(tmp_path, PAIRS), settings,
        where=WHERE, scorer="heuristics", accelerator="cpu", batch_size=4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    kept = _rows(tmp_path / "out" / "kept.jsonl")
    assert sorted(row["key"] for row in kept) == expected
    words = {row["key"]: row["__dj__stats__"]["pairsift_caption_words"] for row in kept}
    assert words == {key: len(text.split()) for key, _, text in PAIRS if key in expected}


def test_the_default_scorer_keeps_what_select_keeps(tmp_path: Path) -> None:
    pairs = PAIRS[:8]
    scores = score_folder_of(tmp_path / "ours", pairs, "pairsift-tiny")
    where = f"itm >= {between(scores, 'itm', 3)}"
    expected = selected_keys(scores, tmp_path, pairs, where=where)
    assert len(expected) == 3
    done = _process(tmp_path, _write_dataset(tmp_path, pairs), where=where)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [row["key"] for row in _rows(tmp_path / "out" / "kept.jsonl")] == expected


@pytest.mark.parametrize("settings", [DEFAULT, RAY], ids=["default", "ray"])
def test_metrics_of_ones_own_keep_what_select_keeps(
    tmp_path: Path, settings: Mapping[str, Any]
) -> None:
    model = str(own_pack(tmp_path / "model"))
    scores = score_folder_of(tmp_path / "ours", PAIRS, "mlm", model=model)
    where = f"match >= {between(scores, 'match', 5)} and grade_std >= 0"
    expected = selected_keys(scores, tmp_path, PAIRS, where=where)
    assert len(expected) == 5
    done = _process(
        tmp_path, _write_dataset(tmp_path, PAIRS), settings,
        where=where, scorer="mlm", scorer_options={"model": model}, accelerator="cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    kept = _rows(tmp_path / "out" / "kept.jsonl")
    assert sorted(row["key"] for row in kept) == expected
    assert 1 <= kept[0]["__dj__stats__"]["pairsift_useful"] <= 5


def test_the_guides_recipe_runs(tmp_path: Path) -> None:
    pages = blocks(GUIDES / "data-juicer.md")
    (recipe,) = (block.body for block in pages if block.language == "yaml")
    told = yaml.safe_load(recipe)
    assert Path(told["custom_operator_paths"][0]).name == Path(OPERATOR_PATH).name
    (tmp_path / "dog.jpg").write_bytes(PAIRS[5][1])
    row = {"text": "<__dj__image> a brown dog <|__dj__eoc|>", "images": ["dog.jpg"]}
    assert json.dumps(row) in recipe
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    done = _dj_process(tmp_path, told | {"custom_operator_paths": [OPERATOR_PATH]})
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "kept.jsonl").exists()


@pytest.mark.parametrize(
    ("operator", "says"),
    [
        ({"where": "itmm > 3"}, "no column 'itmm' (did you mean itm?)"),
        ({"scorer": "pairsift-tinny"}, "did you mean 'pairsift-tiny'"),
        ({"scorer_options": {"metric": "itm"}}, "takes no option 'metric'"),
        ({"where": "itm"}, "a condition is needed"),
        ({"whre": "itm > 3"}, "whre"),
    ],
)
def test_mistakes_end_a_run_before_it_begins(
    tmp_path: Path, operator: dict[str, Any], says: str
) -> None:
    done = _process(tmp_path, _write_dataset(tmp_path, PAIRS[:2]), **operator)
    assert done.returncode != 0
    assert says in done.stderr + done.stdout
    assert not (tmp_path / "out" / "kept.jsonl").exists()


@pytest.fixture
def operator() -> Any:
    from data_juicer.ops import OPERATORS

    import pairsift.integrations.data_juicer.pairsift_filter  # noqa: F401  (registers it)

    def make(**options: Any) -> Any:
        return OPERATORS.modules["pairsift_filter"](skip_op_error=True, **options)

    return make


def test_every_sample_gets_stats_and_none_is_lost(operator: Any) -> None:
    """Images as bytes, several images, no text: a status each, in the order they came."""
    from data_juicer.core.data import NestedDataset

    _, image, caption = PAIRS[8]
    rows = [
        {"text": caption, "image_bytes": [b"\xff\xd8\xffnothing"]},
        {"text": caption, "image_bytes": []},
        {"text": caption, "image_bytes": [image, image]},
        {"text": "", "image_bytes": [image]},
        {"text": None, "image_bytes": [image]},
        {"text": caption, "image_bytes": [image]},
    ]
    filter_ = operator(
        where="caption_words > 2", scorer="heuristics", accelerator="cpu", batch_size=2
    )
    found = filter_.run(NestedDataset.from_list(rows), reduce=False)
    stats = found["__dj__stats__"][:]
    assert [row["pairsift_status"] for row in stats] == [
        "image_corrupt", "image_missing", "model_error", "caption_empty", "caption_missing", "ok",
    ]  # fmt: skip
    assert "2 images" in stats[2]["pairsift_error"]
    # Types do not hang on the first batch, which had no scores.
    assert (stats[5]["pairsift_smaller_side"], stats[5]["pairsift_language"]) == (250.0, "en")
    kept = filter_.run(NestedDataset.from_list(rows))
    assert kept["text"][:] == [caption]


def test_scores_that_are_there_are_not_made_again(operator: Any) -> None:
    filter_ = operator(where="itm >= 30", scorer="pairsift-tiny", accelerator="cpu")
    held: dict[str, Any] = {f"pairsift_{field.name}": 7.0 for field in filter_.fields}
    held |= {"pairsift_status": "ok", "pairsift_error": ""}
    stats = [held | {"pairsift_itm": 29.5}, held | {"pairsift_itm": 30.0}]
    rows = {"text": ["a", "b"], "images": [[], []], "__dj__stats__": stats}
    assert filter_.compute_stats_batched(rows)["__dj__stats__"][0]["pairsift_itm"] == 29.5
    assert filter_.process_batched(rows) == [False, True]
    assert filter_.process_single({"__dj__stats__": held}) is False
