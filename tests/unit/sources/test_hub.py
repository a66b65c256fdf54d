"""The Hugging Face source against a hub on the loopback: what is asked for, resumed, cancelled and refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHA = "a" * 40
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
source, cache, form, onnx_file, stop = HubSource.model_validate_json(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
seen = []
enough = lambda: stop == "half" and any(done > 1_000_000 for done, _ in seen)
try:
    path = fetch([source], cache, lambda label, done, total: seen.append([done, total]), enough, form=form, onnx_file=onnx_file)
    print(json.dumps({"path": str(path), "seen": seen, "keys": sorted(cached_keys(cache))}))
except XinferError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


class Hub:
    """The two endpoints that a download needs.

    Attributes:
        gets: GETs per file; ranges: (file, first byte) of resumed ones.
        go_on: while clear, the weights stop half-way.
        garbled: a file that is sent with other content of the same length.
    """

    def __init__(self) -> None:
        self.gets: Counter[str] = Counter()
        self.ranges: list[tuple[str, int]] = []
        self.garbled = ""
        self.go_on = threading.Event()
        self.go_on.set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                path = self.path.split("?")[0]
                if path.startswith("/api/models/org/model"):
                    return self.json(hub.info())
                found = re.fullmatch(r"/org/model/resolve/[^/]+/(.+)", path)
                if found is None or found[1] not in REPO:
                    return self.json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                return self.file(found[1], body)

            def json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
                raw = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(raw)

            def file(self, name: str, body: bool) -> None:
                content = REPO[name] if name != hub.garbled else REPO[name][::-1]
                start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", "0"])[1])
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", SHA)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                if not body:
                    return
                hub.gets[name] += 1
                if start:
                    hub.ranges.append((name, start))
                middle = max(start, len(content) // 2)
                try:
                    self.wfile.write(content[start:middle])
                    self.wfile.flush()
                    if name == "model.safetensors":
                        hub.go_on.wait(60)
                    self.wfile.write(content[middle:])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def info(self) -> dict[str, object]:
        files: list[dict[str, object]] = []
        for name, body in REPO.items():
            blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            files.append({"rfilename": name, "size": len(body), "blobId": blob})
            if name.endswith((".safetensors", ".onnx")):
                files[-1]["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
        return {"id": "org/model", "sha": SHA, "siblings": files, "private": False, "tags": [], "downloads": 0}

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()
    yield served
    served.close()


def run(hub: Hub, tmp_path: Path, repo: str = "org/model", form: str = "pytorch", stop: str = "never") -> dict[str, object]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_") and name != "TRANSFORMERS_OFFLINE"},
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server.server_port}",
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
