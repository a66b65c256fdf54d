"""Fetching: once for all processes, resumed after a kill, nothing half-done ever looks complete."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.sources.wheels import FILES, Index, build_wheel, pip_environment
from xinfer.catalog.spec import HubSource, LocalSource, WheelSource
from xinfer.errors import Cancelled, SourceError
from xinfer.sources.fetch import cached, cached_keys, fetch
from xinfer.sources.hub import hubs_offline
from xinfer.sources.store import disk_errors, entry

WHEEL = WheelSource(package="demo-model", version="1.0", path="demo_model/data")
HUB = HubSource(kind="huggingface", repo="nobody/nothing")
ROOT = Path(__file__).parents[3]
FETCH = """
import json, sys
from pathlib import Path
from xinfer.catalog.spec import WheelSource
from xinfer.sources.fetch import fetch
seen = []
def progress(label, done, total):
    seen.append([done, total])
    print("progress", done, total, flush=True)
path = fetch([WheelSource.model_validate_json(sys.argv[1])], Path(sys.argv[2]), progress)
print("result", json.dumps([str(path), seen]), flush=True)
"""


def quiet(label: str, done: int, total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has fetched before must not matter."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return build_wheel(tmp_path / "links")


@pytest.fixture
def offline_pip(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pip_environment(str(wheel.parent)).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def index(wheel: Path) -> Iterator[Index]:
    served = Index(wheel)
    yield served
    served.close()


@pytest.fixture
def start(index: Index, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that fetches WHEEL into tmp_path/cache."""
    started: list[subprocess.Popen[str]] = []

    def run() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", FETCH, WHEEL.model_dump_json(), str(tmp_path / "cache")]
        environment = {**os.environ, **pip_environment(index.url), "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(child)
        return child

    yield run
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


def result(child: subprocess.Popen[str]) -> tuple[Path, list[list[int]]]:
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0, out
    path, seen = json.loads(out.splitlines()[-1].removeprefix("result "))
    return Path(path), seen


def same_as_wheel(folder: Path) -> bool:
    wanted = {name.removeprefix("demo_model/data/"): body for name, body in FILES.items() if "/data/" in name}
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == wanted


@pytest.mark.usefixtures("offline_pip")
def test_a_wheel_is_fetched_and_then_cached(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    seen: list[tuple[str, int, int]] = []
    assert cached([WHEEL], cache) is None
    path = fetch([WHEEL], cache, lambda *report: seen.append(report))
    assert same_as_wheel(path)
    assert seen[-1][0] == "pypi://demo-model==1.0/demo_model/data"
    assert seen[-1][1] == seen[-1][2] > 0
    assert cached([WHEEL], cache) == path
    assert cached_keys(cache) == {"pypi://demo-model==1.0/demo_model/data"}
    assert sorted(p.suffix for p in (cache / "pypi").iterdir() if p.is_file()) == [".json", ".lock"]
    assert not list(cache.rglob("*.whl"))


@pytest.mark.usefixtures("offline_pip")
def test_a_damaged_entry_is_not_complete_and_is_repaired(tmp_path: Path) -> None:
    path = fetch([WHEEL], tmp_path, quiet)
    (path / "model.safetensors").write_bytes(b"short")
    assert cached([WHEEL], tmp_path) is None
    assert cached_keys(tmp_path) == frozenset()
    assert same_as_wheel(fetch([WHEEL], tmp_path, quiet))


@pytest.mark.usefixtures("offline_pip")
def test_the_hash_of_the_wheel_is_checked(tmp_path: Path, wheel: Path) -> None:
    wrong = WHEEL.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(SourceError, match="not what was expected"):
        fetch([wrong], tmp_path, quiet)
    assert cached([wrong], tmp_path) is None
    assert not list(tmp_path.glob("pypi/*.json"))
    assert not list(tmp_path.glob("pypi/**/*.whl"))
    right = WHEEL.model_copy(update={"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()})
    assert same_as_wheel(fetch([right], tmp_path, quiet))


@pytest.mark.usefixtures("offline_pip")
def test_pip_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"could not be fetched by pip: .*demo-model==9\.9"):
        fetch([WHEEL.model_copy(update={"version": "9.9"})], tmp_path, quiet)
    with pytest.raises(SourceError, match="has no folder 'nowhere'"):
        fetch([WHEEL.model_copy(update={"path": "nowhere"})], tmp_path, quiet)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip is not in this environment"):
        fetch([WHEEL], tmp_path, quiet)


def test_two_processes_fetch_once(tmp_path: Path, index: Index, start: Callable[[], subprocess.Popen[str]]) -> None:
    index.go_on.clear()
    first = start()
    assert index.half_sent.wait(30)
    second = start()
    assert second.stdout is not None
    waiting = second.stdout.readline()
    assert waiting.startswith("progress"), "the second one shows the first one's progress"
    assert not list((tmp_path / "cache").glob("pypi/*.json")), "nothing is complete yet"
    index.go_on.set()
    (one, _), (two, _) = result(first), result(second)
    assert one == two
    assert same_as_wheel(one)
    assert index.downloads == 1


def test_a_killed_fetch_leaves_no_child_and_the_next_one_completes(
    tmp_path: Path, index: Index, start: Callable[[], subprocess.Popen[str]]
) -> None:
    index.go_on.clear()
    first = start()
    assert index.half_sent.wait(30)
    children = psutil.Process(first.pid).children(recursive=True)
    assert children, "pip runs below it"
    second = start()
    assert second.stdout is not None
    assert second.stdout.readline().startswith("progress")
    first.kill()
    first.wait(10)
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone
    assert not alive
    assert not list((tmp_path / "cache").glob("pypi/*.json"))
    index.go_on.set()
    path, _ = result(second)
    assert same_as_wheel(path)
    assert index.downloads == 2
    assert not list((tmp_path / "cache").glob("pypi/*.partial"))


@pytest.mark.usefixtures("offline_pip")
def test_a_wheel_that_had_arrived_is_used_again(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = entry(tmp_path, WHEEL, "pytorch", "model.onnx")
    (place.partial / "wheel").mkdir(parents=True)
    (place.partial / "wheel" / wheel.name).write_bytes(wheel.read_bytes())
    place.files.mkdir()
    (place.files / "model.safetensors").write_bytes(b"half of it")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert same_as_wheel(fetch([WHEEL], tmp_path, quiet))


def test_cancelling_stops_pip_and_can_be_resumed(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pip_environment(index.url).items():
        monkeypatch.setenv(name, value)
    index.go_on.clear()
    with pytest.raises(Cancelled):
        fetch([WHEEL], tmp_path, quiet, index.half_sent.is_set)
    assert not [child for child in psutil.Process().children(recursive=True) if "pip" in " ".join(child.cmdline())]
    assert cached([WHEEL], tmp_path) is None
    index.go_on.set()
    assert same_as_wheel(fetch([WHEEL], tmp_path, quiet))


def test_whoever_waits_can_be_cancelled(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pip_environment(index.url).items():
        monkeypatch.setenv(name, value)
    index.go_on.clear()
    paths: list[Path] = []
    other = threading.Thread(target=lambda: paths.append(fetch([WHEEL], tmp_path, quiet)))
    other.start()
    assert index.half_sent.wait(30)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        fetch([WHEEL], tmp_path, quiet, lambda: True)
    assert time.monotonic() - began < 10
    index.go_on.set()
    other.join(60)
    assert same_as_wheel(paths[0])


@pytest.mark.usefixtures("offline_pip")
def test_sources_are_tried_in_order_and_the_cached_one_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = fetch([HUB, WHEEL], tmp_path, quiet)
    assert same_as_wheel(path)
    local = LocalSource(path=str(tmp_path / "own"))
    assert fetch([LocalSource(path="/nowhere/at/all"), WHEEL], tmp_path, quiet) == path
    (tmp_path / "own").mkdir()
    assert fetch([local, WHEEL], tmp_path, quiet) == tmp_path / "own"
    with pytest.raises(SourceError, match=r"no source of the model.*HF_HUB_OFFLINE.*relative"):
        fetch([HUB, LocalSource(path="relative")], tmp_path, quiet)


def test_offline_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for kind in ("huggingface", "modelscope"):
        source = HubSource.model_validate({"kind": kind, "repo": "a/b"})
        with pytest.raises(SourceError, match=f"{kind}://a/b is not cached and HF_HUB_OFFLINE is set"):
            fetch([source], tmp_path, quiet)
    assert hubs_offline({"HF_HUB_OFFLINE": "1"})
    assert hubs_offline({"TRANSFORMERS_OFFLINE": "true"})
    assert not hubs_offline({"HF_HUB_OFFLINE": "0"})
    assert not hubs_offline({})


def test_what_the_users_own_hub_cache_holds_counts_as_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--BAAI--bge-reranker-base"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "tokenizer.json").write_text("{}")
    assert cached_keys(tmp_path) == frozenset()  # no weights yet
    (snapshot / "model.safetensors").write_bytes(b"w")
    assert cached_keys(tmp_path) == {"huggingface://BAAI/bge-reranker-base"}
    source = HubSource(kind="huggingface", repo="BAAI/bge-reranker-base")
    assert fetch([source], tmp_path / "cache", quiet) == snapshot


def test_the_two_formats_of_a_repository_are_two_entries(tmp_path: Path) -> None:
    torch = entry(tmp_path, HUB, "pytorch", "model.onnx")
    assert torch == entry(tmp_path, HUB, "pytorch", "other.onnx")
    assert torch.folder != entry(tmp_path, HUB, "onnx", "model.onnx").folder
    assert torch.folder != entry(tmp_path, HUB.model_copy(update={"revision": "v1"}), "pytorch", "model.onnx").folder


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SourceError, match=r"cannot be written.*XINFER_MODEL_CACHE"):
        fetch([WHEEL], tmp_path / "file", quiet)
    for code, said in ((errno.ENOSPC, "no space left"), (errno.EROFS, "cannot be written"), (errno.ECONNRESET, "could not be fetched")):
        with pytest.raises(SourceError, match=said), disk_errors("it", tmp_path):
            raise OSError(code, os.strerror(code))
