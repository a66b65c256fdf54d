"""The Hugging Face source against a hub on the loopback: what is asked for, resumed, cancelled and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import Hub

ROOT = Path(__file__).parents[3]
# The client writes pieces of 10 MB, so half of it leaves one on disk.
WEIGHTS = bytes(range(256)) * 100_000
REPO = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"b" * 1000,
    "onnx/model.onnx": b"o" * 2000,
    "README.md": b"# hello",
}
FETCH = """
import json, sys
from pathlib import Path
from xinfer.catalog.spec import HubSource
from xinfer.errors import XinferError
from xinfer.sources.fetch import cached_keys, fetch
source, cache, form, weight_file, stop = HubSource.model_validate_json(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
seen = []
enough = lambda: stop == "half" and any(done > 1_000_000 for done, _ in seen)
try:
    path = fetch([source], cache, lambda label, done, total: seen.append([done, total]), enough, form=form, weight_file=weight_file)
    print(json.dumps({"path": str(path), "seen": seen, "keys": sorted(cached_keys(cache))}))
except XinferError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub(REPO, "model.safetensors")
    yield served
    served.close()


def run(hub: Hub, tmp_path: Path, repo: str = "org/model", form: str = "pytorch", stop: str = "never") -> dict[str, object]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_") and name != "TRANSFORMERS_OFFLINE"},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    source = json.dumps({"kind": "huggingface", "repo": repo})
    command = [sys.executable, "-c", FETCH, source, str(tmp_path / "cache"), form, "onnx/model.onnx", stop]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def names(path: object) -> list[str]:
    folder = Path(str(path))
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_one_copy_of_the_weights_is_fetched_once(hub: Hub, tmp_path: Path) -> None:
    answer = run(hub, tmp_path)
    assert names(answer["path"]) == ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"]
    assert (Path(str(answer["path"])) / "model.safetensors").read_bytes() == WEIGHTS
    assert answer["keys"] == ["huggingface://org/model"]
    assert set(hub.gets) == {"1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"}
    before = dict(hub.gets)
    assert run(hub, tmp_path)["path"] == answer["path"]
    assert dict(hub.gets) == before


def test_onnx_is_another_entry_without_torch_weights(hub: Hub, tmp_path: Path) -> None:
    answer = run(hub, tmp_path, form="onnx")
    assert names(answer["path"]) == ["1_Pooling/config.json", "config.json", "onnx/model.onnx", "tokenizer.json"]
    assert answer["keys"] == ["huggingface://org/model onnx/model.onnx"]


def test_a_cancelled_download_is_resumed_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.go_on.clear()
    answer = run(hub, tmp_path, stop="half")
    assert answer["error"] == "Cancelled"
    assert not list((tmp_path / "cache").glob("*/*.json"))
    hub.go_on.set()
    answer = run(hub, tmp_path)
    assert (Path(str(answer["path"])) / "model.safetensors").read_bytes() == WEIGHTS
    assert [name for name, start in hub.ranges if start > 1_000_000] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_hashes_are_checked_and_what_was_right_is_kept(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.garbled = name
    answer = run(hub, tmp_path)
    assert answer["error"] == "SourceError"
    assert f"huggingface://org/model: {name} does not have the hash" in str(answer["message"])
    assert not list((tmp_path / "cache").glob("*/*.json"))
    hub.garbled = ""
    answer = run(hub, tmp_path)
    assert (Path(str(answer["path"])) / name).read_bytes() == REPO[name]
    assert hub.gets[name] == 2
    assert hub.gets["config.json"] == 1


def test_a_repository_that_is_not_there_is_said(hub: Hub, tmp_path: Path) -> None:
    answer = run(hub, tmp_path, repo="org/none")
    assert answer["error"] == "SourceError"
    assert "huggingface://org/none does not exist, or HF_TOKEN has no access" in str(answer["message"])


def test_a_hub_that_cannot_be_reached_is_said(hub: Hub, tmp_path: Path) -> None:
    hub.close()
    answer = run(hub, tmp_path)
    assert answer["error"] == "SourceError"
    assert "huggingface://org/model could not be fetched" in str(answer["message"])
