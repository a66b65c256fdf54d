"""A process that becomes another: what stays, what goes, and who notices."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import until
from tests.unit.processes.conftest import gone
from xinfer.processes.child import Child
from xinfer.processes.spawn import ProcessSpec, become

Start = Callable[..., Child]


async def test_pid_parent_children_and_given_descriptors_stay(start: Start, tmp_path: Path) -> None:
    given, file = tmp_path / "given", tmp_path / "facts"
    given.touch()
    child = start("turn", {"given": str(given), "file": str(file)})
    first = await child.ready(30)
    await asyncio.to_thread(until, file.exists, "the new image begun", 30)
    facts = json.loads(file.read_text())
    assert facts["pid"] == first["pid"] == child.pid
    assert (facts["env"], facts["given"]) == ("1", str(given))
    assert facts["files"].count(str(given)) == 1
    # Its child lived until the new image ended it, and the new image learnt how.
    assert (facts["before"], facts["after"]) == (None, -signal.SIGTERM)
    assert child.exit_code is None
    assert await child.stop(10) == 5


async def test_children_die_with_what_their_parent_became(start: Start, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.touch()
    child = start("turn", {"given": str(given), "file": "", "leave": True})
    first = await child.ready(30)
    await asyncio.to_thread(until, lambda: not psutil.pid_exists(child.pid) or "turned" in psutil.Process(child.pid).cmdline(), "it turned")
    os.kill(child.pid, signal.SIGKILL)
    assert gone(first["below"], within=5.0)


async def test_what_cannot_be_become_leaves_everything_as_it_was(start: Start) -> None:
    child = start("turn_into_nothing")
    assert (await child.ready(30))["error"] == "FileNotFoundError"
    assert await child.wait() == 0


def test_only_the_main_thread_becomes_another() -> None:
    caught: list[BaseException] = []

    def other() -> None:
        try:
            become(ProcessSpec("nothing:at_all", {}, "nothing"))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="main thread"):
        raise caught[0]
