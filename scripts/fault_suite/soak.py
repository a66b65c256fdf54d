"""A mixed load for minutes on end: first without faults (does memory grow?), then with one a minute (does anything fail?)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console

from scripts.fault_suite.ground import BACK, FULL, UID, wait_gone
from scripts.fault_suite.grounds import GROUNDS, Pair
from scripts.fault_suite.memory import Memory, growth
from scripts.fault_suite.row import BREAKS
from tests.support.cluster import until
from tests.support.load import Load, Turn, sdk_embed, sdk_rerank
from tests.support.models import model

EMBEDDER = "emb"
MIX: tuple[tuple[int, Turn], ...] = (
    (12, partial(sdk_rerank, UID)),
    (2, partial(sdk_rerank, UID, size=60)),
    (8, partial(sdk_embed, EMBEDDER)),
    (2, partial(sdk_embed, EMBEDDER, size=60)),
)
"""Clients, and what each of them asks for over and over."""
EVERY = 60.0
"""Seconds from fault to fault."""


@dataclass(frozen=True, slots=True)
class Times:
    """Minutes without faults and with one a minute; ``pause``: seconds that each client rests between two requests."""

    quiet: float
    faults: float
    pause: float = 0.0


class Faults:
    """One after another, each kind in its turn."""

    def __init__(self, ground: Pair) -> None:
        self._ground = ground
        self._turn = 0

    def next(self) -> str:
        """Make the next fault and wait until all is whole again; what it was, and how long it took."""
        kinds: tuple[Callable[[int], str], ...] = (self._replica, self._api, self._control, self._worker, self._launcher)
        round_, kind = divmod(self._turn, len(kinds))
        self._turn += 1
        began = time.monotonic()
        name = kinds[kind](round_)
        until(self._whole, f"all whole again after {name}", BACK)
        self._ground.check()
        return f"{name}: whole again after {time.monotonic() - began:.1f} s"

    def _whole(self) -> bool:
        ready = [self._ground.ready(uid) for uid in (UID, EMBEDDER)]
        pids = [pid for each in ready for pid in each.values()]
        return all(len(each) == 2 for each in ready) and all(pid and psutil.pid_exists(pid) for pid in pids)

    def _replica(self, round_: int) -> str:
        uid = (UID, EMBEDDER)[round_ % 2]
        seen = self._ground.replicas(uid)
        victim = seen[round_ // 2 % len(seen)]
        assert victim.pid is not None, f"{victim} has no process"
        os.kill(victim.pid, signal.SIGKILL)
        self._ground.wait_back(victim, uid)
        return f"kill -9 replica {victim.id}"

    def _api(self, round_: int) -> str:
        processes = self._ground.supervisor.children("api.main")
        victim = processes[round_ % len(processes)]
        victim.kill()
        wait_gone([victim], "the API process")
        until(lambda: len(self._ground.supervisor.children("api.main")) == 2, "two API processes again", BACK)
        return "kill -9 an API process"

    def _control(self, round_: int) -> str:
        victim = self._ground.supervisor.child("control_main")
        victim.kill()
        wait_gone([victim], "the control process")
        return "kill -9 the control process"

    def _worker(self, round_: int) -> str:
        command = list(self._ground.workers.values())[round_ % 2]
        victim = command.child("worker_main")
        tree = [victim, *victim.children(recursive=True)]
        victim.kill()
        wait_gone(tree, "the worker and its replicas")
        return "kill -9 a worker process"

    def _launcher(self, round_: int) -> str:
        command = list(self._ground.workers.values())[round_ % 2]
        tree = command.tree()
        command.process.kill()
        command.process.wait()
        wait_gone(tree[1:], "the worker's tree")
        command.start()
        return "kill -9 a worker's launcher, then started again"


def quiet(ground: Pair, minutes: float, console: Console) -> bool:
    """Whether no process grew, ended or began."""
    with Memory(ground) as memory:
        time.sleep(60 * minutes)
    found = growth(memory.samples, 60 * minutes)
    for each in found:
        console.print(f"  {each}", highlight=False, markup=False)
    return bool(found) and all(each.held for each in found)


def faulty(ground: Pair, minutes: float, console: Console) -> bool:
    """Whether the cluster was whole after each fault."""
    end, faults = time.monotonic() + 60 * minutes, Faults(ground)
    while (began := time.monotonic()) < end:
        try:
            console.print(f"  {faults.next()}", highlight=False, markup=False)
        except BREAKS as error:
            console.print(f"  DOES NOT HOLD: {error}", highlight=False, markup=False)
            return False
        time.sleep(max(0.0, min(began + EVERY, end) - time.monotonic()))
    return True


def loaded(ground: Pair, phase: Callable[[], bool], pause: float, console: Console) -> bool:
    """Whether a phase holds, and no request failed in it."""
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(ground.cluster.url, clients, turn, pause)) for clients, turn in MIX]
        for load in loads:
            load.wait(1)
        whole = phase()
    failed = sum(sum(load.outcome.wrong.values()) for load in loads)
    right, longest = sum(load.outcome.right for load in loads), max(load.outcome.longest for load in loads)
    console.print(f"  {failed} of {right + failed} requests failed; the slowest took {longest:.1f} s", highlight=False)
    for load in loads:
        for what, count in load.outcome.wrong.most_common(5):
            console.print(f"  {count} × {what}", highlight=False, markup=False)
    return whole and not failed


def soak(times: Times, console: Console, out: Path) -> bool:
    """Whether no process grew, no request failed and no orphan was left; logs go to ``out`` where not."""
    folder = Path(tempfile.mkdtemp(prefix="xinfer-soak-"))
    whole = False
    try:
        with GROUNDS["pair"](folder, model("reranker-onnx"), FULL) as ground:
            assert isinstance(ground, Pair)
            ground.settle()
            ground.cluster.launch("-t", "embedding", "-mp", str(model("bge-small-onnx")), "-u", EMBEDDER, "-r", "2")
            console.print(f"{times.quiet:g} minutes without faults:", highlight=False)
            held = not times.quiet or loaded(ground, partial(quiet, ground, times.quiet, console), times.pause, console)
            console.print(f"{times.faults:g} minutes with a fault a minute:", highlight=False)
            held = (not times.faults or loaded(ground, partial(faulty, ground, times.faults, console), times.pause, console)) and held
        whole = held
    finally:
        if not whole:
            keep_logs(folder, out / "soak")
        shutil.rmtree(folder, ignore_errors=True)
    console.print("All holds." if whole else "Not all holds.")
    return whole


def keep_logs(folder: Path, out: Path) -> None:
    """Copy what the processes of a cluster wrote."""
    for path in folder.rglob("*"):
        if path.suffix in (".out", ".stderr", ".log"):
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                shutil.copy(path, target)
