"""`xinfer serve` with two CPU slots, and the models that a row needs on it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

READY = 90.0
END = 60.0
PROGRAM = str(Path(sys.executable).parent / "xinfer")


@dataclass(frozen=True, slots=True)
class Model:
    """What is measured.

    Attributes:
        kind: "rerank" or "embedding".
        bare: the engine of the bare model, "torch" or "onnx".
    """

    name: str
    kind: str
    path: Path
    engine: str = "sentence_transformers"
    dtype: str = "float32"
    bare: str = "torch"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A model on named slots, one replica each."""

    model: Model
    slots: tuple[int, ...]

    @property
    def uid(self) -> str:
        """One per model and slots."""
        return "-".join([self.model.name, *map(str, self.slots)])


class Server:
    """A running `xinfer serve`."""

    def __init__(self, url: str, env: dict[str, str]) -> None:
        self.url = url
        self._env = env
        self._running: set[str] = set()

    def want(self, *wanted: Deployed) -> None:
        """Stop every other model, then launch those that are missing: nothing else shares the slots while a row runs."""
        for uid in sorted(self._running - {each.uid for each in wanted}):
            self._xinfer("stop", uid)
            self._running.discard(uid)
        for each in wanted:
            if each.uid not in self._running:
                self._launch(each)
                self._running.add(each.uid)

    def _launch(self, wanted: Deployed) -> None:
        model = wanted.model
        address = self.get("/v1/cluster/slots")["workers"][0]["address"]
        pins = [part for slot in wanted.slots for part in ("--pin", f"{address}@{slot}")]
        dtype = ["--dtype", model.dtype] if model.bare == "torch" else []
        try:
            self._xinfer("launch", "-t", model.kind, "-mp", str(model.path), "-u", wanted.uid, "-en", model.engine, *dtype, *pins)
        except RuntimeError:
            self._xinfer("stop", wanted.uid)  # the next row may want it too
            raise

    def _xinfer(self, *arguments: str) -> None:
        done = subprocess.run([PROGRAM, *arguments], env=self._env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"xinfer {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def pid(self, uid: str, ordinal: int = 0) -> int:
        """The process of one replica."""
        return int(self.get(f"/v1/models/{uid}/replicas")[ordinal]["pid"])

    def get(self, path: str) -> Any:
        """JSON of a page."""
        reply = httpx.get(self.url + path, timeout=30)
        reply.raise_for_status()
        return reply.json()


@contextlib.contextmanager
def serving(home: Path, flags: Sequence[str] = ()) -> Iterator[Server]:
    """The server, ready; ended afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XINFER_")}
    env = {**kept, "XINFER_HOME": str(home), "XINFER_ENDPOINT": url, "NO_COLOR": "1"}
    home.mkdir(parents=True, exist_ok=True)
    log = home / "serve.log"
    with log.open("wb") as out:
        command = [PROGRAM, "serve", "--port", str(port), "--cpu-slots", "2", *flags]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        server = Server(url, env)
        _wait_ready(server, process, log)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if server.get("/v1/cluster/slots")["workers"]:
                return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"xinfer serve did not get ready:\n{log.read_text()[-4000:]}")
        time.sleep(0.2)
