"""What rows have in common: a cluster that serves a reranker, a load on it, and questions about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.cluster import Cluster, Command, until
from tests.support.load import Load, Outcome, sdk_rerank

UID = "ce"
CLIENTS = 32
BACK = 120.0
"""Seconds that anything is given to be ready again; machines may be slow."""
GONE = 15.0
"""Seconds that processes are given to be gone."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long faults last.

    Attributes:
        away: seconds for which the control process is not there.
        cut: seconds for which a host's link is; longer than it takes to give a worker up.
        pause: seconds that each client of the load rests between two requests.
        quick: whether commands are started with the short time-outs of ``quick.py``.
    """

    away: float = 30.0
    cut: float = 60.0
    pause: float = 0.0
    quick: bool = False

    @property
    def prefix(self) -> tuple[str, ...]:
        """What goes before the command lines of a cluster."""
        return (sys.executable, str(Path(__file__).with_name("quick.py"))) if self.quick else ()


FULL = Pace()
SHORT = Pace(away=3.0, cut=8.0, pause=0.5, quick=True)
"""For the test suite. With the pause, models load beside the load as fast as they can."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica as GET /v1/models/{uid}/replicas shows it."""

    id: str
    pid: int | None
    slot: str
    phase: str
    restarts: int
    error: str

    @property
    def worker(self) -> str:
        """Its worker's address."""
        return self.slot.rpartition("@")[0]

    @property
    def device(self) -> str:
        """Index of its device, the same after its worker was started again."""
        return self.slot.rpartition("@")[2]


@dataclass
class Ground:
    """A running cluster.

    Attributes:
        model: folder of a small reranker.
        outcome: of the row's load, once it is over.
    """

    cluster: Cluster
    model: Path
    pace: Pace
    outcome: Outcome | None = None
    homes: list[Cluster] = field(default_factory=list)

    def settle(self) -> None:
        """Have what a row begins with."""

    def forget(self) -> None:
        """The load of the row before."""
        self.outcome = None

    def check(self) -> None:
        """What must hold after every row: no process of ours that nobody looks after."""
        for home in (self.cluster, *self.homes):
            until(partial(_no_orphan, home), f"no orphan under {home.home}", GONE)

    def processes(self) -> list[psutil.Process]:
        """All of them, launchers too."""
        return [process for home in (self.cluster, *self.homes) for command in home.commands for process in command.tree()]

    @contextmanager
    def load(self, uid: str = UID) -> Iterator[Load]:
        """The load runs before, throughout and after what is inside."""
        with Load(self.cluster.url, CLIENTS, partial(sdk_rerank, uid, size=2), self.pace.pause) as load:
            self.outcome = load.outcome
            load.wait(CLIENTS)
            yield load
            load.wait(CLIENTS)

    def launch(self, *flags: str, uid: str = UID) -> None:
        """Launch the reranker and wait until it is ready."""
        self.cluster.launch("-t", "rerank", "-mp", str(self.model), "-u", uid, *flags)

    def replicas(self, uid: str = UID) -> list[Seen]:
        """Those there are, by id; none while nobody answers."""
        try:
            found = self.cluster.replicas(uid)
        except (httpx.HTTPError, KeyError, ValueError):
            return []
        seen = [
            Seen(r["replica_model_uid"], r["pid"], r["slot"], r["phase"], r["restarts"], r["error_message"])
            for r in found
            if r["phase"] != "draining"
        ]
        return sorted(seen, key=lambda each: each.id)

    def ready(self, uid: str = UID) -> dict[str, int | None]:
        """Pids of ready replicas by id."""
        return {each.id: each.pid for each in self.replicas(uid) if each.phase == "ready"}

    def wait_ready(self, count: int, uid: str = UID, seconds: float = BACK) -> float:
        """Until so many replicas are ready; how long that took."""
        began = time.monotonic()
        until(lambda: len(self.ready(uid)) == count, f"{count} replicas of {uid} ready: {self.replicas(uid)}", seconds)
        return time.monotonic() - began

    def wait_same(self, before: dict[str, int | None], uid: str = UID, seconds: float = BACK) -> float:
        """Until the same processes as before are ready replicas again."""
        began = time.monotonic()
        until(lambda: self.ready(uid) == before, f"the same replicas {before} adopted: {self.replicas(uid)}", seconds)
        return time.monotonic() - began

    def wait_back(self, victim: Seen, uid: str = UID, seconds: float = BACK) -> float:
        """Until another process is ready in the place of ``victim``."""

        def back() -> bool:
            pid = self.ready(uid).get(victim.id)
            return pid is not None and pid != victim.pid

        began = time.monotonic()
        until(back, f"{victim.id} ready again: {self.replicas(uid)}", seconds)
        return time.monotonic() - began

    def slots(self, uid: str = UID) -> dict[str, str]:
        """Slots of ready replicas by id."""
        return {each.id: each.slot for each in self.replicas(uid) if each.phase == "ready"}

    def models(self) -> set[str]:
        """Uids of all deployments."""
        return {entry["id"] for entry in self.cluster.get("/v1/models")["data"]}

    def reserved(self) -> dict[str, int]:
        """Bytes charged to each device that has any."""
        return {
            f"{worker['address']}@{device['index']}": device["reserved_bytes"]
            for worker in self.cluster.slots()["workers"]
            for device in worker["devices"]
            if device["reserved_bytes"]
        }


def _no_orphan(home: Cluster) -> bool:
    return not home.orphans()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_gone(processes: list[psutil.Process], what: str, seconds: float = GONE) -> float:
    """Until none of them runs; how long that took."""
    began = time.monotonic()
    until(lambda: not alive(processes), f"{what} gone", seconds)
    return time.monotonic() - began


def below(command: Command, mark: str) -> tuple[psutil.Process, list[psutil.Process]]:
    """The command's child of that kind, and all that is below that child."""
    child = command.child(mark)
    return child, child.children(recursive=True)


def facts(**values: Any) -> str:
    """``back in 3.1 s, …``."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in values.items())
