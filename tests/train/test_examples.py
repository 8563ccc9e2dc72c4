"""What balance writes is what train reads, in either form; anything else is refused in words."""

from __future__ import annotations

import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pairsift.balance.run import Options, balance_records
from pairsift.errors import PairsiftError
from pairsift.scorers.mlm.prompt_files import recorded_prompts
from pairsift.teach.records import Record, write_records
from pairsift.train.examples import TrainingData, fewest, read_data, read_mix, split_dev
from tests.samples import jpeg, tar_bytes
from tests.train.toy import write_toy


@pytest.fixture
def balanced(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    records = []
    for row in range(60):
        scores = {m: float(rng.integers(0, 1001)) / 10 for m in ("itm", "odf", "ctq")}
        why = {"itm": f"reason {row}\nin two lines"} if row % 2 else {}
        records.append(Record(f"{row % 12}.jpg", f"caption {row} <image>", "own", 0, scores, why))
    write_records(str(tmp_path / "teacher.parquet"), records, {})
    (tmp_path / "images.tar").write_bytes(
        tar_bytes((f"{i}.jpg", jpeg(40, 30, i)) for i in range(12))
    )
    options = Options(
        per_metric=40, clusters=1, prompts="compact", messages=find_spec("datasets") is not None
    )
    out = tmp_path / "balanced"
    paths = [str(tmp_path / "teacher.parquet")]
    balance_records(paths, [str(tmp_path / "images.tar")], str(out), options)
    return out


def test_pairs_come_with_all_the_scores_they_were_chosen_for(balanced: Path) -> None:
    data = read_data([str(balanced)])
    assert sum(len(example.scores) for example in data.examples) == 120
    assert len(data.examples) <= 60
    by_caption = {example.caption: example for example in data.examples}
    for row in range(60):
        example = by_caption.get(f"caption {row} <image>")  # as it was, not as LLaVA's code wants
        if example is None:
            continue
        assert data.sources[example.place].read(example.image) == jpeg(40, 30, row % 12)
        wanted = (
            {"itm": f"reason {row}\nin two lines"} if row % 2 and "itm" in example.scores else {}
        )
        assert example.why == wanted
    only = read_data([str(balanced)], metrics=["odf"])
    assert {metric for example in only.examples for metric in example.scores} == {"odf"}
    assert recorded_prompts(balanced).name == "compact"


@pytest.mark.skipif(find_spec("datasets") is None, reason="needs datasets")
def test_both_forms_hold_the_same(balanced: Path) -> None:
    one = read_data([str(balanced)])
    other = read_data([str(balanced / "messages.parquet")])
    source = pickle.loads(pickle.dumps(other.sources[0]))  # as a worker process gets it

    def facts(data: TrainingData, read: object) -> dict[str, object]:
        return {
            e.caption: ({m: round(s, 2) for m, s in e.scores.items()}, dict(e.why), read(e.image))
            for e in data.examples
        }

    assert facts(one, one.sources[0].read) == facts(other, source.read)


def test_dev_images_are_apart_and_drawn_by_name(tmp_path: Path) -> None:
    examples = read_data([str(write_toy(tmp_path, 50))]).examples
    train, dev = split_dev(examples, 0.2, 1000, seed=1)
    assert len(dev) == 20
    assert not {e.image for e in train} & {e.image for e in dev}
    assert len(train) + len(dev) == 100
    assert split_dev(examples[::-1], 0.2, 1000, seed=1)[1] == dev[::-1]
    assert split_dev(examples, 0.2, 1000, seed=2)[1] != dev
    few_train, few = split_dev(examples, 0.2, 7, seed=1)
    assert few_train == train
    assert len(few) == 7
    assert set(map(id, few)) <= set(map(id, dev))
    assert split_dev(examples, 0.0, 1000, seed=1) == (examples, [])
    assert fewest(dev, 100, 0) == dev


def _mix(path: Path) -> Path:
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A dog."}]
    entries = [{"id": str(i), "image": f"images/{i}.png", "conversations": turns} for i in range(8)]
    entries[1]["image"] = "elsewhere.png"
    del entries[2]["image"]
    entries[3]["conversations"] = turns[1:]
    entries[4]["conversations"] = turns * 2  # later turns are passed over
    path.write_text(json.dumps(entries))
    return path


def test_instructions_are_drawn_and_the_rest_counted(tmp_path: Path) -> None:
    write_toy(tmp_path)
    mixed = TrainingData()
    read_mix(str(_mix(tmp_path / "mix.json")), [], 4, 0, mixed)
    assert [(e.question, e.answer) for e in mixed.exchanges] == [("What is it?", "A dog.")] * 4
    assert sorted(mixed.left_out.values()) == [1, 1, 1]
    everything = TrainingData()
    read_mix(str(tmp_path / "mix.json"), [], 100, 0, everything)
    assert len(everything.exchanges) == 5
    again = TrainingData()
    read_mix(str(tmp_path / "mix.json"), [], 4, 0, again)
    assert again.exchanges == mixed.exchanges


def test_instructions_that_balance_mixed_in_are_kept(tmp_path: Path) -> None:
    write_toy(tmp_path)
    judged = json.loads((tmp_path / "llava.json").read_text())
    general = json.loads(_mix(tmp_path / "mix.json").read_text())
    (tmp_path / "llava.json").write_text(json.dumps(general + judged))
    data = read_data([str(tmp_path)])
    assert (len(data.examples), len(data.exchanges)) == (len(judged), 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "beauty"}, "entry 3: metric 'beauty'"),
        ({"score": 101}, "entry 3: score 101"),
        ({"score": "high"}, "entry 3: score 'high'"),
        ({"caption": None}, "entry 3: caption"),
        ({"image": "images/none.png"}, "images/none.png"),
    ],
)
def test_wrong_entries_are_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    write_toy(tmp_path)
    entries = json.loads((tmp_path / "llava.json").read_text())
    entries[3] |= change
    (tmp_path / "llava.json").write_text(json.dumps(entries))
    with pytest.raises(PairsiftError, match=words):
        read_data([str(tmp_path)])


def test_what_is_no_training_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsiftError, match="llava.json"):
        read_data([str(tmp_path)])
    with pytest.raises(PairsiftError, match="is not training data"):
        read_data([str(tmp_path / "absent")])
    (tmp_path / "llava.json").write_text("{}")
    with pytest.raises(PairsiftError, match="list of entries"):
        read_data([str(tmp_path)])
    (tmp_path / "messages.parquet").write_bytes(b"PAR1")
    with pytest.raises(PairsiftError, match="balance"):
        read_data([str(tmp_path / "messages.parquet")])
    write_toy(tmp_path / "toy")
    with pytest.raises(PairsiftError, match="for su to learn"):
        read_data([str(tmp_path / "toy")], metrics=["su"])


def test_images_of_another_folder_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "img/train2017").mkdir(parents=True)
    for number in range(3):
        (tmp_path / f"img/train2017/{number}.jpg").write_bytes(jpeg(20, 10, number))
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    names = ["coco/train2017/0.jpg", "vg/VG_100K/1.jpg", "val2017/2.jpg", "2.jpg"]
    entries = [{"image": name, "conversations": turns} for name in names]
    (tmp_path / "mix.json").write_text(json.dumps(entries))
    data = TrainingData()
    read_mix(str(tmp_path / "mix.json"), [str(tmp_path / "img")], 9, 0, data)
    assert [exchange.image for exchange in data.exchanges] == ["coco/train2017/0.jpg", "2.jpg"]
    assert data.left_out == {"instruction whose image is missing": 2}
    (tmp_path / "mix.json").write_text(json.dumps(entries[1:3]))
    with pytest.raises(PairsiftError) as caught:
        read_mix(str(tmp_path / "mix.json"), [str(tmp_path / "img")], 9, 0, TrainingData())
    assert "'vg/VG_100K/1.jpg'" in str(caught.value)
    assert "img/train2017/1.jpg" in str(caught.value)
