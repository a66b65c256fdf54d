"""A real supervisor and many real worker actors: what joining, heartbeats and a plan cost the control process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil

from scripts.simulation.figures import Figure

SOCKETS = "sockets"
BIN = Path(sys.executable).parent
READY, JOIN, END = 60.0, 300.0, 40.0
ASK_EVERY = 1.0


class Commands:
    """The command lines of one cluster, ended with all that they started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._running: list[subprocess.Popen[bytes]] = []

    def begin(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start one in the background, its output in the home."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("XINFER_", "XOSCAR_"))}
        env |= {"XINFER_HOME": str(self.home), "HF_HUB_OFFLINE": "1"}
        with (self.home / f"{argv[0]}.out").open("ab") as out:
            process = subprocess.Popen([str(BIN / argv[0]), *argv[1:]], env=env, stdout=out, stderr=subprocess.STDOUT)
        self._running.append(process)
        return process

    def end(self) -> None:
        """SIGTERM, then whatever it takes, to our own processes only."""
        for process in reversed(self._running):
            tree = _tree(process.pid)
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END)
            for one in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait(END)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _until(look: Callable[[], bool], what: str, seconds: float, alive: subprocess.Popen[bytes], every: float = 0.1) -> float:
    """Seconds until it is so.

    Raises:
        RuntimeError: not in time, or the command has ended.
    """
    began = time.monotonic()
    while not look():
        if alive.poll() is not None:
            raise RuntimeError(f"{what}: {alive.args!r} ended with {alive.returncode}")
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(every)
    return time.monotonic() - began


def measure(home: Path, workers: int, gpus: int, seconds: float, model: Path) -> Iterator[Figure]:
    """All figures of the control process, one by one."""
    commands = Commands(home)
    try:
        supervisor = commands.begin("xinfer-supervisor", "--port", str(commands.port), "--log-level", "warning")
        _until(lambda: _answers(commands.url), "the REST API answers", READY, supervisor)
        control = _role(supervisor.pid, "control_main")
        yield Figure(SOCKETS, "RSS of the control process, empty", control.memory_info().rss / 2**20, "MiB")
        yield from _join(commands, control, workers, gpus)
        yield from _beats(control, workers, seconds)
        yield from _plan(commands, control, model)
    finally:
        commands.end()


def _join(commands: Commands, control: psutil.Process, workers: int, gpus: int) -> Iterator[Figure]:
    spent, began = _cpu(control), time.monotonic()
    flags = ("--simulate-workers", str(workers), "--simulate-gpus", f"{gpus}x24GiB", "--log-level", "warning")
    worker = commands.begin("xinfer-worker", "-e", commands.url, *flags)
    _until(lambda: _joined(commands.url) >= workers, f"{workers} workers joined", JOIN, worker, ASK_EVERY)
    note = f"{workers:,} workers in one process, their start included; control process {_cpu(control) - spent:.1f} s of CPU"
    yield Figure(SOCKETS, "until all have joined", time.monotonic() - began, "s", note)
    yield Figure(SOCKETS, "RSS of the control process", control.memory_info().rss / 2**20, "MiB", f"{workers:,} workers × {gpus}")


def _beats(control: psutil.Process, workers: int, seconds: float) -> Iterator[Figure]:
    """Nobody asks anything meanwhile."""
    time.sleep(5.0)
    spent, began = _cpu(control), time.monotonic()
    time.sleep(seconds)
    share = (_cpu(control) - spent) / (time.monotonic() - began)
    note = f"{share / max(1, workers) * 2e6:.0f} µs a heartbeat, the transport included, over {seconds:g} s"
    yield Figure(SOCKETS, "heartbeats: CPU of the control process", share, "cores", note)
    yield Figure(SOCKETS, "RSS of the control process, later", control.memory_info().rss / 2**20, "MiB")


def _plan(commands: Commands, control: psutil.Process, model: Path) -> Iterator[Figure]:
    """Dry: a real launch would start a hundred processes here."""
    body = {"model_type": "rerank", "model_path": str(model), "model_engine": "sentence_transformers", "replica": 100}
    for name in ("first", "second"):
        spent, began = _cpu(control), time.monotonic()
        reply = httpx.post(f"{commands.url}/v1/plan", json=body, timeout=120)
        took = time.monotonic() - began
        reply.raise_for_status()
        fits = reply.json()["fits"]
        note = f"{name} time; every worker is asked for the folder; control process {_cpu(control) - spent:.2f} s of CPU; fits: {fits}"
        yield Figure(SOCKETS, "plan of 100 replicas over REST", took, "s", note)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _role(launcher: int, mark: str) -> psutil.Process:
    """The child that runs this entry."""
    for process in _tree(launcher)[1:]:
        with contextlib.suppress(psutil.Error):
            if mark in process.environ().get("XINFER_PROCESS", ""):
                return process
    raise RuntimeError(f"no process runs {mark}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _joined(url: str) -> int:
    try:
        return len(httpx.get(f"{url}/v1/workers", timeout=30).json())
    except (httpx.HTTPError, ValueError):
        return 0
