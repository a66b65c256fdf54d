"""What an engine started ends with its replica, whatever kills the processes above."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.unit.processes.conftest import gone
from xinfer.processes.child import Child
from xinfer.processes.launcher import ORPHANS_EVERY


@pytest.mark.parametrize("victim", ["role", "below"])
async def test_a_grandchild_without_a_parent_death_signal_ends_all_the_same(start: Callable[..., Child], victim: str) -> None:
    launcher = start("launching")
    facts = await launcher.ready(60)
    assert psutil.Process(facts["grandchild"]).status() != psutil.STATUS_ZOMBIE
    parent = psutil.Process(facts["daemon"]).parent()
    assert parent is not None
    assert parent.pid == launcher.pid  # an orphan, of a replica that lives
    os.kill(facts[victim], signal.SIGKILL)
    assert gone(facts["below"], within=5.0)
    for below in ("grandchild", "stray", "daemon"):
        assert gone(facts[below], within=ORPHANS_EVERY + 5.0)
    assert launcher.exit_code is None
    assert await launcher.stop(20) == 0


async def test_a_daemon_of_a_replica_that_lives_stays(start: Callable[..., Child]) -> None:
    launcher = start("launching")
    facts = await launcher.ready(60)
    assert not gone(facts["daemon"], within=ORPHANS_EVERY + 1.0)
    assert await launcher.stop(20) == 0
    assert gone(facts["daemon"], within=1.0)


async def test_an_orphan_of_whose_coming_no_signal_tells_ends_too(start: Callable[..., Child]) -> None:
    launcher = start("launching", {"unseen": True})
    facts = await launcher.ready(60)
    os.kill(facts["below"], signal.SIGKILL)
    assert gone(facts["stray"], within=ORPHANS_EVERY + 5.0)
    assert await launcher.stop(20) == 0
