"""One replica on its worker: spawn, load, prove the device, watch, stop. Tells the worker by events."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from xinfer.actors import replica_main
from xinfer.actors.handover import HeldReplica
from xinfer.actors.messages import Loaded, LoadProgress, replica_uid
from xinfer.actors.refs import ReplicaRef
from xinfer.cluster.device import Device, DeviceReport
from xinfer.cluster.ids import Address, WorkerId
from xinfer.cluster.memory import with_headroom
from xinfer.cluster.replica import Assignment, Phase, Progress, Replica
from xinfer.control.events import Event, ReplicaEnded, ReplicaProgressed, ReplicaReady
from xinfer.devices.base import Inventory
from xinfer.engines import registry
from xinfer.errors import DeadlineExceeded, DeviceMismatch, LaunchFailed, OutOfMemory, ReplicaLost, SourceError, XinferError
from xinfer.processes import environments
from xinfer.processes.child import Child
from xinfer.processes.spawn import ProcessSpec, spawn
from xinfer.settings import WorkerSettings

log = structlog.get_logger(__name__)

PROGRESS_EVERY = 0.25
KILLED_BUILD_GONE = 5.0
"""Seconds within which the processes of a killed build are gone; longer, and it is somebody else who builds the same."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a hosted replica borrows from its worker."""

    settings: WorkerSettings
    inventory: Inventory
    token: str
    worker_id: WorkerId
    tell: Callable[[Event], None]
    ended: Callable[[Replica], None]


@dataclass(slots=True)
class Hosted:
    """One replica process and the task that looks after it."""

    host: Host
    assignment: Assignment
    replica: Replica
    devices: tuple[Device, ...]
    child: Child | None = None
    stderr: Path = Path("/dev/null")
    ref: ReplicaRef | None = None
    task: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    drain_seconds: float = 0.0
    _ending: bool = False

    @classmethod
    def taken_back(cls, host: Host, held: HeldReplica) -> Hosted:
        """Go on with what the former image of this process held; what it could not reach yet is begun again."""
        hosted = cls(host, held.assignment, held.replica, held.devices, stderr=Path(held.log))
        if held.pid is not None and held.replica.address is not None:
            hosted.child = Child.inherited(f"replica {held.replica.id}", held.pid, hosted.stderr, held.log_start)
            hosted.ref = ReplicaRef(held.replica.address, replica_uid(held.replica.id, held.replica.epoch))
        hosted.begin()
        if held.drain_seconds is not None:
            hosted.ask_stop(held.drain_seconds)
        return hosted

    def sketch(self) -> HeldReplica:
        """What another image of this process would need to go on from here."""
        reached = self.child is not None and self.ref is not None
        return HeldReplica(
            assignment=self.assignment,
            replica=self.replica if reached else replace(self.replica, address=None, pid=None),
            devices=self.devices,
            pid=self.child.pid if reached and self.child is not None else None,
            log=str(self.stderr),
            log_start=self.child.log_start if self.child is not None else 0,
            drain_seconds=self.drain_seconds if self._stop.is_set() else None,
        )

    async def hold(self) -> HeldReplica | None:
        """Look after it no more without ending it, if it can be reached; one that is ending is waited for and is None."""
        assert self.task is not None  # noqa: S101
        if not self._ending:
            self.task.cancel()
        await asyncio.wait({self.task})
        if not self.task.cancelled():
            return None
        held = self.sketch()
        if self.child is not None and self.child.exit_code is not None:
            self.host.ended(self.replica)
            lost = ReplicaLost(f"The process ended with code {self.child.exit_code}.")
            self._report_end(self.child.exit_code, None if self._stop.is_set() else lost)
            return None
        if self.child is not None and held.pid is None:
            await self.child.stop(0.0)
        elif self.child is not None:
            self.child.release()
        return held

    def begin(self) -> None:
        """Spawn from the calling (main) thread and look after the process from a task."""
        self.task = asyncio.get_running_loop().create_task(self._life(), name=f"replica {self.replica.id}")

    def ask_stop(self, drain: float) -> None:
        """Drain for at most ``drain`` seconds, then end the process; during a start, end it at once."""
        self.drain_seconds = drain
        self._stop.set()

    async def _life(self) -> None:
        running = asyncio.create_task(self._run())
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.wait({running})
            if running.cancelled():
                raise  # held
        self._ending = True
        error = _outcome(running)
        code = 0
        if self.child is not None:
            # Only what was serving gets time to end; a start that is given up has nothing to lose.
            serving = error is None and self.replica.phase is Phase.READY
            code = await self.child.stop(self.host.settings.timings.stop if serving else 0.0)
        if self.replica.phase is Phase.INSTALLING:
            await asyncio.to_thread(environments.sweep, self.host.settings.home.environments, KILLED_BUILD_GONE)
        self.host.ended(self.replica)
        self._report_end(code, error)

    async def _run(self) -> XinferError | None:
        """Returns why the replica ended, or None if it was asked to."""
        stop = asyncio.create_task(self._stop.wait())
        start = asyncio.create_task(self._start())
        try:
            # What was ready before this image of the worker has nothing to start, and drains before it stops.
            await asyncio.wait({start} if self.replica.phase is Phase.READY else {start, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                start.cancel()
                await asyncio.wait({start})
                return None
            start.result()
            return await self._watch(stop)
        finally:
            stop.cancel()
            start.cancel()
            await asyncio.wait({start})

    async def _start(self) -> None:
        if self.ref is None:
            await self._reach()
        if self.replica.phase is not Phase.READY:
            await self._bring_up()

    async def _reach(self) -> None:
        """Start its process; returns once it has said where it listens."""
        place = await self._environment() if self.assignment.spec.packages else None
        hold = () if place is None else (place.hold(),)
        try:
            self.child = self._spawned(replace(self._spec(), python=None if place is None else place.python, pass_fds=hold))
        finally:
            for lock in hold:
                os.close(lock)
        self._enter(Phase.SPAWNING, Progress(Phase.SPAWNING.value, since=time.time()), pid=self.child.pid)
        announced = await self.child.ready(self.host.settings.timings.spawn)
        address = Address(announced["address"])
        self.replica = replace(self.replica, address=address)
        self.ref = ReplicaRef(address, replica_uid(self.replica.id, self.replica.epoch))

    async def _bring_up(self) -> None:
        """Load, prove the devices, tell that it is ready."""
        assert self.child is not None  # noqa: S101
        assert self.ref is not None  # noqa: S101
        address, loaded = self.ref.address, await self._load(self.ref)
        self._prove(loaded)
        reports = await self._measured(loaded.reports, self.child.pid)
        self.replica = replace(
            self.replica,
            phase=Phase.READY,
            reports=reports,
            loaded=True,
            reserved_bytes=with_headroom(max(r.used_bytes for r in reports)) or self.replica.reserved_bytes,
            speed=loaded.speed,
            budget_tokens=loaded.budget_tokens,
            capacity=loaded.capacity,
            dtype=loaded.dtype,
        )
        self.host.tell(
            ReplicaReady(
                replica_id=self.replica.id,
                epoch=self.replica.epoch,
                address=address,
                pid=self.child.pid,
                reports=reports,
                reserved_bytes=self.replica.reserved_bytes,
                speed=loaded.speed,
                budget_tokens=loaded.budget_tokens,
                dtype=loaded.dtype,
                dtype_why=loaded.dtype_why,
                calibration=loaded.calibration,
                capacity=loaded.capacity,
            )
        )

    async def _environment(self) -> environments.Place:
        """Where its packages are, built by a process of its own if no replica had them before.

        Raises:
            LaunchFailed: they cannot be installed within the time, or break what a replica needs.
        """
        spec, home, limit = self.assignment.spec, self.host.settings.home, self.host.settings.timings.install
        self._enter(Phase.INSTALLING, Progress(Phase.INSTALLING.value, since=time.time()), pid=None)
        child = self.child = self._spawned(
            environments.build_spec(
                home.environments,
                spec.packages,
                registry.packages(spec.engine),
                f"packages of {self.replica.id}",
                replica_main.cores_of(self.devices),
                self.stderr,
            )
        )
        try:
            key = str((await child.ready(limit))["key"])
        except DeadlineExceeded as error:
            raise LaunchFailed(f"packages were not installed within {limit:g} s.", param="packages") from error
        await child.wait()
        return environments.Place(home.environments, key)

    def _spawned(self, spec: ProcessSpec) -> Child:
        try:
            return spawn(spec)
        except OSError as error:
            raise ReplicaLost(f"Its process could not be started: {error}.") from error

    async def _measured(self, reports: tuple[DeviceReport, ...], pid: int) -> tuple[DeviceReport, ...]:
        """The reports with the driver's own figure of this process's memory, where it can say."""
        held = await asyncio.to_thread(self.host.inventory.process_memory, pid)
        return tuple(replace(r, used_bytes=held.get(r.uuid, r.used_bytes)) for r in reports)

    def _spec(self) -> ProcessSpec:
        environment = self.host.inventory.environment([d.uuid for d in self.devices])
        return replica_main.process_spec(self.assignment, self.devices, environment, self.host.settings, self.host.token, self.stderr)

    async def _load(self, ref: ReplicaRef) -> Loaded:
        assert self.child is not None  # noqa: S101
        loading = asyncio.create_task(ref.load(self.host.settings.timings.load))
        ended = asyncio.create_task(self.child.wait())
        try:
            while True:
                done, _ = await asyncio.wait({loading, ended}, timeout=PROGRESS_EVERY, return_when=asyncio.FIRST_COMPLETED)
                if loading in done and loading.exception() is None:
                    return loading.result()
                if ended in done:
                    raise ReplicaLost(f"The process ended with code {ended.result()} while it loaded.")
                if loading in done:
                    return loading.result()
                await self._poll(ref)
        finally:
            loading.cancel()
            ended.cancel()

    async def _poll(self, ref: ReplicaRef) -> None:
        try:
            seen: LoadProgress = await ref.progress(5.0)
        except (DeadlineExceeded, ReplicaLost):
            return
        if seen.phase is not Phase.READY and (seen.phase, seen.progress) != (self.replica.phase, self.replica.progress):
            self._enter(seen.phase, seen.progress, self.replica.pid)

    def _enter(self, phase: Phase, progress: Progress, pid: int | None) -> None:
        self.replica = replace(self.replica, phase=phase, progress=progress, pid=pid)
        self.host.tell(
            ReplicaProgressed(replica_id=self.replica.id, epoch=self.replica.epoch, phase=phase, progress=self.replica.progress, pid=pid)
        )

    def _prove(self, loaded: Loaded) -> None:
        """Compare the devices that the runtime sees with those of the slot.

        Raises:
            DeviceMismatch.
        """
        bound = tuple(d.uuid for d in self.devices)
        seen = tuple(r.uuid for r in loaded.reports)
        if bound != seen:
            raise DeviceMismatch(
                f"Replica {self.replica.id} was bound to {', '.join(bound)} and sees {', '.join(seen) or 'no device'}.",
                bound=list(bound),
                seen=list(seen),
            )

    async def _watch(self, stop: asyncio.Task[bool]) -> XinferError | None:
        """Until the process ends, hangs or is to stop."""
        assert self.child is not None  # noqa: S101
        assert self.ref is not None  # noqa: S101
        ended = asyncio.create_task(self.child.wait())
        health = asyncio.create_task(self._health(self.ref))
        try:
            await asyncio.wait({ended, health, stop}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return None if self._stop.is_set() else ReplicaLost(f"The process ended with code {ended.result()}.")
            if health.done() and not stop.done():
                return ReplicaLost(health.result())
            await self._drain(self.ref, ended)
            return None
        finally:
            ended.cancel()
            health.cancel()

    async def _drain(self, ref: ReplicaRef, ended: asyncio.Task[int]) -> None:
        if self.drain_seconds <= 0:
            return
        draining = asyncio.create_task(ref.drain(self.drain_seconds))
        try:
            await asyncio.wait({draining, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
        if draining.done() and not draining.cancelled() and draining.exception() is not None:
            log.warning("drain cut short", replica=self.replica.id, reason=str(draining.exception()))

    async def _health(self, ref: ReplicaRef) -> str:
        """Returns why the replica is to be killed. Busy is not dead: ``health`` answers by queue progress."""
        timings = self.host.settings.timings
        clock = asyncio.get_running_loop().time
        heard = clock()
        while True:
            await asyncio.sleep(timings.health_every)
            try:
                await ref.health(timings.health_deadline)
                heard = clock()
            except DeadlineExceeded:
                return f"No sign of life within {timings.health_deadline:g} s."
            except ReplicaLost as error:
                # Most often the exit itself is on its way and says more.
                if clock() - heard > timings.health_every + timings.health_deadline:
                    return f"Its process lives and cannot be reached: {error.message}"
            except XinferError as error:
                return f"The health check failed: {error.message}"

    def _report_end(self, code: int, error: XinferError | None) -> None:
        replica = self.replica
        ended = ReplicaEnded(replica.id, replica.epoch, code=code, worker_id=self.host.worker_id)
        if error is not None:
            log.warning("replica ended", replica=replica.id, epoch=replica.epoch, exit=code, code=error.code, reason=error.message)
            tail = "" if self.child is None else self.child.stderr_tail()
            ended = replace(ended, error=error.message, error_code=error.code, stderr_tail=tail, fatal=_fatal(error, replica))
        self.host.tell(ended)


def _fatal(error: XinferError | None, replica: Replica) -> bool:
    """Whether to give up at once: the first start of a replica, whose user is waiting, fails of itself; or the device is wrong.

    What has run before is tried again later, whatever is in its way now; so is a start that was killed or lacked memory.
    """
    if isinstance(error, DeviceMismatch):
        return True
    if error is None or replica.ready_at > 0 or error.details.get("exit_code", 0) < 0:
        return False
    return isinstance(error, LaunchFailed | SourceError) and not isinstance(error, OutOfMemory)


def _outcome(task: asyncio.Task[XinferError | None]) -> XinferError | None:
    """Why a life ended; what nobody foresaw is told with its text, like everything else."""
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, XinferError):
        return error
    log.error("replica's life broke off", exc_info=error)
    return ReplicaLost(f"Its worker failed: {type(error).__name__}: {error}")
