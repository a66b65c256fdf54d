"""Real command lines for tests: start them, ask them, kill them, and see that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

BIN = Path(sys.executable).parent
READY = 60.0
T = TypeVar("T")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(look: Callable[[], T], what: str, seconds: float = 30.0) -> T:
    """Ask until the answer is true; the answer. Fails with ``what``."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@dataclass
class Command:
    """One command line running in the background, its output in a file."""

    argv: list[str]
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.argv, env=self.env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    @property
    def pid(self) -> int:
        return self.process.pid

    def tree(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        try:
            top = psutil.Process(self.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def children(self, mark: str) -> list[psutil.Process]:
        """Every descendant whose command line or environment holds ``mark``."""
        found = []
        for process in self.tree()[1:]:
            with contextlib.suppress(psutil.Error):
                if mark in " ".join(process.cmdline()) or mark in process.environ().get("XINFER_PROCESS", ""):
                    found.append(process)
        return found

    def child(self, mark: str) -> psutil.Process:
        """The first of ``children``."""
        for process in self.children(mark):
            return process
        raise AssertionError(f"no descendant {mark!r} of {self.argv}: {[p.cmdline() for p in self.tree()]}")

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def end(self) -> None:
        """Whatever it takes, for clean-up."""
        tree = self.tree()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)


@dataclass
class Cluster:
    """A home, its environment and the commands started on it.

    Attributes:
        address: where REST listens.
        prefix: goes before commands in the background, such as those that put them into a namespace.
    """

    home: Path
    port: int = field(default_factory=free_port)
    commands: list[Command] = field(default_factory=list)
    extra_env: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("XINFER_", "XOSCAR_", "CUDA_VISIBLE"))}
        cache = os.environ.get("XINFER_MODEL_CACHE", str(self.home / "models"))
        return {
            **keep,
            "XINFER_HOME": str(self.home),
            "XINFER_MODEL_CACHE": cache,
            "XINFER_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            **self.extra_env,
        }

    def begin(self, *argv: str) -> Command:
        """Start a command in the background."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = Command([*self.prefix, str(BIN / argv[0]), *argv[1:]], self.env, self.home / f"{argv[0]}-{len(self.commands)}.out")
        self.commands.append(command)
        return command

    def serve(self, *flags: str) -> Command:
        """``xinfer serve`` with one worker, ready."""
        command = self.begin("xinfer", "serve", "--port", str(self.port), *flags)
        self.wait_workers(1, command)
        return command

    def supervisor(self, *flags: str) -> Command:
        """``xinfer-supervisor``, ready."""
        command = self.begin("xinfer-supervisor", "--port", str(self.port), *flags)
        self._wait(lambda: self._ok("/readyz"), "the REST API ready", command)
        return command

    def worker(self, *flags: str) -> Command:
        """``xinfer-worker`` on the supervisor, joined."""
        before = self.n_workers()
        command = self.begin("xinfer-worker", "-e", self.url, *flags)
        self.wait_workers(before + 1, command)
        return command

    def _wait(self, look: Callable[[], Any], what: str, command: Command) -> None:
        def alive() -> Any:
            assert command.process.poll() is None, f"{command.argv} ended with {command.process.returncode}:\n{command.log.read_text()}"
            return look()

        try:
            until(alive, what, READY)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{command.log.read_text()[-4000:]}") from error

    def wait_workers(self, count: int, command: Command) -> None:
        self._wait(lambda: self.n_workers() >= count, f"{count} workers joined", command)

    def n_workers(self) -> int:
        try:
            return len(self.slots()["workers"])
        except (httpx.HTTPError, KeyError, ValueError):
            return 0

    def _ok(self, path: str) -> bool:
        try:
            return httpx.get(self.url + path, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> Any:
        reply = httpx.get(self.url + path, timeout=30)
        reply.raise_for_status()
        return reply.json()

    def slots(self) -> Any:
        return self.get("/v1/cluster/slots")

    def replicas(self, uid: str) -> list[dict[str, Any]]:
        """GET /v1/models/{uid}/replicas as a list."""
        found = self.get(f"/v1/models/{uid}/replicas")
        return found if isinstance(found, list) else found["replicas"]

    def run(self, *argv: str, timeout: float = 240.0, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``xinfer ARGV`` to its end."""
        done = subprocess.run([str(BIN / "xinfer"), *argv], env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        if ok:
            assert done.returncode == 0, f"xinfer {' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def launch(self, *argv: str) -> Any:
        """``xinfer launch … --json``, parsed."""
        return json.loads(self.run("launch", *argv, "--json").stdout)

    def orphans(self) -> list[psutil.Process]:
        """Processes of this home that are below none of its commands."""
        ours = {process for command in self.commands for process in command.tree()}
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process not in ours and process.environ().get("XINFER_HOME") == str(self.home):
                    found.append(process)
        return found

    def end(self) -> None:
        for command in reversed(self.commands):
            command.end()
