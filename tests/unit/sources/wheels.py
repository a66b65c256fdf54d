"""Wheels made by the test, and a package index on the loopback that counts, pauses and lies on demand."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILES = {
    "demo_model/data/config.json": b'{"architectures": ["BertModel"]}',
    "demo_model/data/model.safetensors": bytes(range(256)) * 4096,
    "demo_model/data/sub/vocab.txt": b"[PAD]\n[UNK]\n",
    "demo_model/__init__.py": b"",
}
NAME = "demo_model-1.0-py3-none-any.whl"


def build_wheel(folder: Path, files: dict[str, bytes] | None = None, record: dict[str, str] | None = None) -> Path:
    """Write demo_model 1.0; ``record`` replaces lines of RECORD (an empty one drops it)."""
    info = "demo_model-1.0.dist-info"
    content = {
        **(FILES if files is None else files),
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: demo-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},{(record or {}).get(name, digest(body))},{len(body)}" for name, body in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in content.items():
            archive.writestr(name, body)
    return path


def digest(body: bytes) -> str:
    """As RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


class Index:
    """Serves one wheel as a --find-links page.

    Attributes:
        downloads: GETs of the wheel begun.
        half_sent: set once half of a wheel is on its way and the rest is held back.
        go_on: while clear, downloads stop half-way.
    """

    def __init__(self, wheel: Path) -> None:
        self.downloads = 0
        self.half_sent = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        index, body = self, wheel.read_bytes()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if not self.path.endswith(".whl"):
                    page = f'<html><body><a href="{NAME}">{NAME}</a></body></html>'.encode()
                    return self.reply(page, "text/html")
                index.downloads += 1
                return self.reply(body, "application/octet-stream")

            def do_HEAD(self) -> None:
                self.reply(b"", "text/html")

            def reply(self, content: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    if not index.go_on.is_set() and kind == "application/octet-stream":
                        index.half_sent.set()
                        index.go_on.wait(60)
                    self.wfile.write(content[len(content) // 2 :])
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """For PIP_FIND_LINKS."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        """Let every held download go and stop."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def pip_environment(find_links: str) -> dict[str, str]:
    """Environment in which pip knows this one place only."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": find_links,
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
