"""Rows that kill or stop processes."""

from __future__ import annotations

import os
import signal
import time

import psutil

from scripts.fault_suite.ground import BACK, GONE, UID, below, facts, wait_gone
from scripts.fault_suite.grounds import Pair, Serve, unhurt
from scripts.fault_suite.row import Row
from tests.support.cluster import Command, until

DEADLINE = 90.0
"""Seconds within which a replica that hangs has to be killed."""


def replica_killed(ground: Pair) -> str:
    """Another process takes its place, in the same slot."""
    victim = unhurt(ground)
    assert victim.pid is not None
    with ground.load():
        os.kill(victim.pid, signal.SIGKILL)
        took = ground.wait_back(victim)
    (again,) = (each for each in ground.replicas() if each.id == victim.id)
    assert (again.slot, again.restarts) == (victim.slot, victim.restarts + 1), f"{victim} came back as {again}"
    return f"{facts(back_in_its_slot_after=took)}"


def replica_stopped(ground: Pair) -> str:
    """It is killed at its health deadline and replaced."""
    victim = unhurt(ground)
    process = psutil.Process(victim.pid)
    with ground.load():
        process.suspend()
        killed = wait_gone([process], f"the stopped {victim.id}", DEADLINE)
        took = ground.wait_back(victim)
    return facts(killed_after=killed, replaced_after=killed + took)


def worker_killed(ground: Pair) -> str:
    """Its launcher starts it again; its replicas end with it and come back."""
    victim = ground.replicas()[0]
    slots = ground.slots()
    worker, offspring = below(ground.worker_of(victim.worker), "worker_main")
    with ground.load():
        worker.kill()
        wait_gone([worker, *offspring], "the worker and its replicas")
        took = ground.wait_back(victim)
    assert _devices(ground.slots()) == _devices(slots), f"{slots} became {ground.slots()}"
    return f"its replicas ended with it, {facts(ready_again_after=took)}"


def launcher_killed(ground: Pair) -> str:
    """Its tree ends with it; starting it again restores all."""
    victim = ground.replicas()[0]
    slots = ground.slots()
    command = ground.worker_of(victim.worker)
    with ground.load():
        gone = _kill(command)
        command.start()
        took = ground.wait_back(victim)
    assert len(ground.ready()) == 2, f"not all restored: {ground.replicas()}"
    assert _devices(ground.slots()) == _devices(slots), f"{slots} became {ground.slots()}"
    return f"its tree {facts(gone_after=gone)}; started again, {facts(ready_again_after=took)}"


def control_killed(ground: Pair) -> str:
    """Routes of before serve; back again, it adopts every replica."""
    before = ground.ready()
    launcher = psutil.Process(ground.supervisor.pid)
    with ground.load():
        launcher.suspend()  # so that it stays away
        try:
            ground.supervisor.child("control_main").kill()
            time.sleep(ground.pace.away)
        finally:
            launcher.resume()
        took = ground.wait_same(before)
    assert ground.ready() == before
    return f"away for {ground.pace.away:g} s, {facts(all_adopted_after=took)}, same pids"


def api_killed(ground: Pair) -> str:
    """The other goes on; the SDK tries again."""
    first, second = ground.supervisor.children("api.main")
    with ground.load():
        first.kill()
        began = time.monotonic()
        until(lambda: len(ground.supervisor.children("api.main")) == 2, "two API processes again", BACK)
        took = time.monotonic() - began
        assert second.is_running(), "the other API process ended too"
    return f"the other went on, {facts(started_again_after=took)}"


def all_killed(ground: Serve) -> str:
    """Everything at once; the same command again brings every deployment back to its place."""
    address = ground.cluster.slots()["workers"][0]["address"]
    ground.launch("--pin", f"{address}@2", uid="pinned")
    uids = (UID, "pinned")
    try:
        places = {uid: _devices(ground.slots(uid)) for uid in uids}
        gone = _kill(ground.command, all_of_it=True)
        ground.command.start()
        began = time.monotonic()
        for uid in uids:
            ground.wait_ready(len(places[uid]), uid)
        took = time.monotonic() - began
        assert {uid: _devices(ground.slots(uid)) for uid in uids} == places, f"{places} became others"
    finally:
        ground.cluster.run("stop", "pinned", ok=False)
    return f"{facts(gone_after=gone, all_ready_again_after=took)}, in the same slots"


def _kill(command: Command, *, all_of_it: bool = False) -> float:
    """kill -9 of a launcher, or of all its processes at once; how long it took until its tree was gone."""
    tree = command.tree()
    for process in tree if all_of_it else tree[:1]:
        process.kill()
    command.process.wait(GONE)
    return wait_gone(tree[1:], f"what {command.argv[-1]} had started")


def _devices(slots: dict[str, str]) -> dict[str, str]:
    """Device indices; a worker's port is another after a new start."""
    return {name: slot.rpartition("@")[2] for name, slot in slots.items()}


ROWS = (
    Row("replica-killed", "kill -9 a replica", "pair", replica_killed),
    Row("replica-stopped", "SIGSTOP a replica", "pair", replica_stopped),
    Row("worker-killed", "kill -9 one of two workers' process", "pair", worker_killed),
    Row("launcher-killed", "kill -9 that worker's launcher", "pair", launcher_killed),
    Row("control-killed", "kill -9 the control process", "pair", control_killed),
    Row("api-killed", "kill -9 one of two API processes", "pair", api_killed),
    Row("all-killed", "everything killed at once", "serve", all_killed),
)
