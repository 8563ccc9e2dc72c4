"""Models from a hub: what is fetched, of which revision, and what is said when nothing comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairsift import PairsiftError
from pairsift.scorers.checkpoints import checkpoint_digest, find_checkpoint
from pairsift.scorers.clip import ClipScorer
from pairsift.scorers.mlm.columns import score_columns
from pairsift.scorers.mlm.prompt_files import PACK_FILE, dump_pack
from tests.scorers.mlm.mixed_pack import PACK
from tests.support.hub import Hub, commit_of

_FIND = """
import sys
from pathlib import Path
from pairsift import PairsiftError
from pairsift.scorers.checkpoints import find_checkpoint
def check(folder):
    if "auto_map" in (folder / "config.json").read_text():
        raise PairsiftError("refused by its config.json")
try:
    print(find_checkpoint(sys.argv[1], check=check))
except PairsiftError as error:
    sys.exit(str(error))
"""

_COLUMNS = """
import sys
from pairsift.scorers.registry import known_columns
columns = known_columns(sys.argv[2], model=sys.argv[1], embeddings=sys.argv[2] == "clip")
print(columns and "\\n".join(f"{field.name}:{field.type}" for field in columns))
"""

CONFIG = json.dumps({"model_type": "llava"}).encode()
WEIGHTS = b"safe" * 1000


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


class Finder:
    """Runs `find_checkpoint` as a process of its own: the hub's address is read at import."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.hub, self.home = hub, home

    def __call__(
        self, name: str, *more: str, script: str = _FIND, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        settings = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home)} | environment
        return subprocess.run(
            [sys.executable, "-c", script, name, *more],
            capture_output=True,
            text=True,
            env=clean | settings,
        )


@pytest.fixture
def find(hub: Hub, tmp_path: Path) -> Finder:
    return Finder(hub, tmp_path / "home")


@pytest.mark.slow
def test_one_copy_of_the_weights_is_fetched_and_kept(hub: Hub, find: Finder) -> None:
    hub.add(
        "org/name",
        {
            "config.json": CONFIG, "tokenizer.json": b"{}", "chat_template.jinja": b"x",
            "model.safetensors": WEIGHTS, "consolidated.safetensors": WEIGHTS,
            "pytorch_model.bin": WEIGHTS, "training_args.bin": b"x", "tf_model.h5": WEIGHTS,
            "onnx/model.onnx": WEIGHTS, "original/model.safetensors": WEIGHTS, "README.md": b"x",
        },
    )  # fmt: skip
    done = find("org/name")
    assert done.returncode == 0, done.stderr
    assert "%" in done.stderr  # a progress bar
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(find.home / "hub")
    expected = {"config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"}
    assert hub.fetched() == expected
    assert {path.name for path in folder.iterdir()} == expected
    hub.asked.clear()
    assert find("org/name").stdout == done.stdout
    assert hub.asked == []  # it is there


@pytest.mark.slow
def test_columns_are_known_without_the_weights(hub: Hub, find: Finder) -> None:
    clip = {"model_type": "clip", "projection_dim": 24}
    files = {"model.safetensors": WEIGHTS, "tokenizer.json": b"{}"}
    hub.add("org/plain", {"config.json": CONFIG, **files})
    hub.add("org/pack", {"config.json": CONFIG, PACK_FILE: dump_pack(PACK).encode(), **files})
    hub.add("org/clip", {"config.json": json.dumps(clip).encode(), **files})
    packed = [PACK.metric(name) for name in PACK.metrics]
    embeddings = ["image_embedding", "text_embedding"]
    for name, scorer, expected in [
        ("org/plain", "mlm", [field.name for field in score_columns()]),
        ("org/pack", "mlm", [field.name for field in score_columns(packed)]),
        ("org/clip", "clip", [*(field.name for field in ClipScorer.columns), *embeddings]),
    ]:
        done = find(name, scorer, script=_COLUMNS)
        assert [each.partition(":")[0] for each in done.stdout.splitlines()] == expected, (
            done.stderr
        )
    assert done.stdout.count("[24]") == 2
    assert "model.safetensors" not in hub.fetched()
    assert PACK_FILE in hub.fetched()
    assert find("org/gone", "mlm", script=_COLUMNS).stdout == "None\n"
    # What was fetched for them is not taken for the whole model.
    assert find("org/plain").returncode == 0
    assert "model.safetensors" in hub.fetched()


@pytest.mark.slow
def test_pickled_weights_where_there_are_no_others(hub: Hub, find: Finder) -> None:
    hub.add("org/old", {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS})
    assert find("org/old").returncode == 0
    assert hub.fetched() == {"config.json", "pytorch_model.bin"}


@pytest.mark.slow
def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Hub, find: Finder) -> None:
    hub.add("org/name", {"config.json": CONFIG, "model.safetensors": b"new"})
    hub.add("org/name", {"config.json": CONFIG, "model.safetensors": b"old"}, revision="v1")
    for name, weights in [
        ("org/name", b"new"), ("org/name@v1", b"old"), (f"org/name@{commit_of('v1')}", b"old"),
    ]:  # fmt: skip
        done = find(name)
        assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == weights
    done = find("org/name@v2")
    [line] = done.stderr.strip().splitlines()
    assert "org/name has no revision 'v2'" in line


@pytest.mark.slow
def test_a_fetch_that_was_interrupted_is_completed(hub: Hub, find: Finder) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = {
        "config.json": CONFIG, "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": WEIGHTS, "model-2.safetensors": WEIGHTS * 3,
    }  # fmt: skip
    hub.add("org/name", files)
    hub.broken = "model-2.safetensors"
    first = find("org/name", HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert first.returncode == 1
    assert "cannot be fetched" in first.stderr.splitlines()[-1]
    hub.broken = None
    hub.asked.clear()
    done = find("org/name")
    assert (Path(done.stdout.strip()) / "model-2.safetensors").read_bytes() == WEIGHTS * 3
    assert hub.fetched() == {"model-2.safetensors"}


@pytest.mark.slow
def test_a_gated_model_takes_the_token_of_the_hub(hub: Hub, find: Finder) -> None:
    hub.add("org/gated", {"config.json": CONFIG, "model.safetensors": WEIGHTS})
    hub.gated.add("org/gated")
    done = find("org/gated")
    assert done.returncode == 1
    assert "it is gated: ask for access" in done.stderr.strip().splitlines()[-1]
    assert find("org/gated", HF_TOKEN=hub.token).returncode == 0


@pytest.mark.slow
def test_the_cache_is_that_of_huggingface_hub(hub: Hub, find: Finder, tmp_path: Path) -> None:
    hub.add("org/name", {"config.json": CONFIG, "model.safetensors": WEIGHTS})
    done = find("org/name", HF_HUB_CACHE=str(tmp_path / "elsewhere"))
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "elsewhere")
    offline = find("org/name", HF_HUB_CACHE=str(tmp_path / "elsewhere"), HF_HUB_OFFLINE="1")
    assert offline.stdout == done.stdout


@pytest.mark.slow
def test_a_model_that_is_refused_is_refused_before_its_weights_come(hub: Hub, find: Finder) -> None:
    config = json.dumps({"model_type": "strange", "auto_map": {"AutoModel": "code.Model"}})
    hub.add("org/code", {"config.json": config.encode(), "model.safetensors": WEIGHTS})
    done = find("org/code")
    assert done.returncode == 1
    assert "refused by its config.json" in done.stderr.splitlines()[-1]
    assert hub.fetched() == {"config.json"}


@pytest.mark.parametrize(
    "name", ["gone", "/gone/org/name", "./org/name", "~/gone", "a/b/c", "../org/name", "gone@main"]
)
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PairsiftError, match="there is no folder .*; the folder of a judge is need"):
        find_checkpoint(name, "judge")


def test_a_folder_is_taken_and_a_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "file").write_text("")
    assert find_checkpoint("~/model") == find_checkpoint(str(tmp_path / "model"))
    with pytest.raises(PairsiftError, match="file is a file; the folder of a checkpoint is needed"):
        find_checkpoint(str(tmp_path / "file"))


def folder_of(path: Path, **contents: bytes) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in contents.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


def test_a_digest_is_of_names_sizes_and_bytes(tmp_path: Path) -> None:
    same = {"config__json": b"{}", "a__safetensors": b"weights", "notes__md": b"anything"}
    first = checkpoint_digest(folder_of(tmp_path / "a", **same))
    assert len(first) == 16
    assert checkpoint_digest(folder_of(tmp_path / "b", **same | {"notes__md": b"other"})) == first
    for number, change in enumerate(
        [{"a__safetensors": b"Weights"}, {"a__safetensors": b"weights."}, {"more__json": b""}]
    ):
        assert checkpoint_digest(folder_of(tmp_path / f"c{number}", **same | change)) != first
    own = folder_of(tmp_path / "a")
    chosen = [own / "config.json", own / "notes.md"]
    assert checkpoint_digest(own, chosen) == checkpoint_digest(own, chosen[::-1]) != first


def test_of_large_files_beginning_middle_and_end_count(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digests = []
    for place in (None, 0, 35 << 20, 79 << 20):
        with path.open("wb") as file:
            file.truncate(80 << 20)
            if place is not None:
                file.seek(place)
                file.write(b"x" * (1 << 20))
        digests.append(checkpoint_digest(tmp_path))
    assert len(set(digests)) == 4
