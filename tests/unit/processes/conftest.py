"""Children for tests: started, awaited, and none left behind."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from xinfer.processes.child import Child
from xinfer.processes.spawn import ProcessSpec, spawn

TARGETS = "tests.unit.processes.targets:"


def gone(pid: int, within: float = 1.0) -> bool:
    """Whether ``pid`` has ended, or ends in time; waits on the process itself."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        fd = os.pidfd_open(pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return True
    try:
        import select

        return bool(select.select([fd], [], [], within)[0])
    finally:
        os.close(fd)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Child]]:
    """``start("target", {...payload}, **spec)``; whatever it started is dead afterwards."""
    monkeypatch.setenv("XINFER_HOME", str(tmp_path / "home"))
    children: list[Child] = []

    def start_(target: str, payload: dict[str, Any] | None = None, **spec: Any) -> Child:
        child = spawn(ProcessSpec(TARGETS + target, payload or {}, spec.pop("name", target), **spec))
        children.append(child)
        return child

    yield start_
    for child in children:
        child.kill()


@pytest.fixture
def in_uvloop() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine as our processes do."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture
def deadline() -> Callable[[float], None]:
    """``deadline(seconds)`` fails if the test has run longer."""
    began = time.monotonic()

    def check(seconds: float) -> None:
        assert time.monotonic() - began < seconds

    return check
