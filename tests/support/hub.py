"""A Hugging Face hub on the loopback: one repository, whose large file can be made to stop half-way."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHA = "a" * 40
PATIENCE = 120.0


class Hub:
    """The two endpoints that a download needs.

    Args:
        files: content by name.
        slow: the file that stops half-way while ``go_on`` is clear.

    Attributes:
        gets: GETs per file; ranges: (file, first byte) of resumed ones.
        garbled: a file that is sent with other content of the same length.
        waiting: how many answers stand half-way now.
    """

    def __init__(self, files: Mapping[str, bytes], slow: str, repo: str = "org/model") -> None:
        self.files = files
        self.repo = repo
        self.slow = slow
        self.gets: Counter[str] = Counter()
        self.ranges: list[tuple[str, int]] = []
        self.garbled = ""
        self.waiting = 0
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
                if path.startswith(f"/api/models/{hub.repo}"):
                    return self.json(hub.info())
                found = re.fullmatch(rf"/{re.escape(hub.repo)}/resolve/[^/]+/(.+)", path)
                if found is None or found[1] not in hub.files:
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
                content = hub.files[name] if name != hub.garbled else hub.files[name][::-1]
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
                    if name == hub.slow:
                        hub.wait()
                    self.wfile.write(content[middle:])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @classmethod
    def of_onnx(cls, folder: Path, repo: str) -> Hub:
        """A repository of the ONNX model in ``folder``, its weights where hubs have them."""
        names = {"model.onnx": "onnx/model.onnx"}
        files = {names.get(path.name, path.name): path.read_bytes() for path in folder.iterdir() if path.is_file()}
        return cls(files, "onnx/model.onnx", repo)

    @property
    def url(self) -> str:
        """For ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def wait(self) -> None:
        """Until it may go on."""
        self.waiting += 1
        self.go_on.wait(PATIENCE)
        self.waiting -= 1

    def info(self) -> dict[str, object]:
        files: list[dict[str, object]] = []
        for name, body in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            files.append({"rfilename": name, "size": len(body), "blobId": blob})
            if name.endswith((".safetensors", ".onnx")):
                files[-1]["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}
        return {"id": self.repo, "sha": SHA, "siblings": files, "private": False, "tags": [], "downloads": 0}

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)
