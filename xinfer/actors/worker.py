"""WorkerActor: owns the devices of a host (or of a part of it) and the replica processes bound to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
import xoscar as xo

from xinfer.actors.enrolment import find_supervisor
from xinfer.actors.handover import HeldReplica, HeldWorker
from xinfer.actors.hosting import Host, Hosted
from xinfer.actors.messages import Beat, Hello, ReplicaStats, Stock, WorkerUsage, Written
from xinfer.actors.refs import STAY, SupervisorRef
from xinfer.actors.sampling import Sampler
from xinfer.catalog.files import ModelFiles
from xinfer.cluster.device import Device
from xinfer.cluster.ids import DeviceUuid, Epoch, ReplicaId
from xinfer.cluster.ledger import fits
from xinfer.cluster.reading import Reading
from xinfer.cluster.replica import Assignment, Phase, Replica
from xinfer.cluster.worker import Worker
from xinfer.control.events import Event, ReplicaEnded
from xinfer.devices.base import Inventory
from xinfer.errors import SlotTaken, StaleEpoch, SupervisorUnreachable, XinferError
from xinfer.processes.logfile import LogFile, forget
from xinfer.processes.redact import redacted
from xinfer.settings import WorkerSettings
from xinfer.sources import inspect as model_files
from xinfer.sources.fetch import cached_keys
from xinfer.sources.reach import hub_in_reach

log = structlog.get_logger(__name__)

RECONNECT = 1.0
LAST_NEWS = 2.0
"""Seconds that news have to reach the supervisor before an upgrade."""
STATS = 1.0


class WorkerActor(xo.StatelessActor):
    """The only truth about which process sits on which device."""

    def __init__(
        self,
        me: Worker,
        settings: WorkerSettings,
        inventory: Inventory,
        token: str,
        lock: int,
        upgrade: Callable[[], Awaitable[str]],
    ) -> None:
        """``lock``: the descriptor that keeps its id ours; ``upgrade``: what has this process take up new code."""
        super().__init__()
        self._me = me
        self._settings = settings
        self._inventory = inventory
        self._hosted: dict[ReplicaId, Hosted] = {}
        self._outbox: deque[Event] = deque()
        self._news = asyncio.Event()
        self._host = Host(settings, inventory, token, me.id, self._tell, self._ended)
        self._logs = settings.home.logs / str(me.id)
        self._link: asyncio.Task[None] | None = None
        self._cutting: asyncio.Task[None] | None = None
        self._supervisor: SupervisorRef | None = None
        self._joined = asyncio.Event()
        self._observed: dict[DeviceUuid, int] = {}
        self._begun: set[Epoch] = set()
        self._delivered = asyncio.Event()
        self._delivered.set()
        self._lock = lock
        self._upgrade = upgrade
        self._held = False
        self._sampler = Sampler(inventory, self._stats, time.time, time.monotonic)
        self._sampling: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start looking for the supervisor; returns at once."""
        self._link = asyncio.create_task(self._keep_link(), name="supervisor link")
        self._cutting = asyncio.create_task(self._keep_logs_short(), name="logs")
        self._sampling = asyncio.create_task(self._sampler.run(), name="readings")

    async def joined(self) -> None:
        """Returns once the supervisor knows this worker."""
        await self._joined.wait()

    async def close(self) -> None:
        """End every replica and say goodbye, so that their work goes elsewhere at once."""
        for task in (self._link, self._cutting, self._sampling):
            if task is not None:
                task.cancel()
        lives = [h.task for h in self._hosted.values() if h.task is not None]
        for hosted in list(self._hosted.values()):
            hosted.ask_stop(0.0)
        if lives:
            await asyncio.wait(lives)
        if self._supervisor is not None:
            with contextlib.suppress(XinferError):
                await self._supervisor.leave(self._me.id, self._me.epoch)
        self._inventory.close()

    # --- an upgrade of this process ---

    async def upgrade(self) -> str:
        """Take up the code on disk, soon after this has answered; its version. Raises UpgradeRefused, Unavailable."""
        return await self._upgrade()

    async def sketch(self) -> HeldWorker:
        """What another image of this process would be handed now."""
        return self._handover([hosted.sketch() for hosted in self._hosted.values()])

    def _handover(self, replicas: Sequence[HeldReplica]) -> HeldWorker:
        return HeldWorker(self._me.id, self._me.address, self._lock, tuple(sorted(self._begun)), tuple(replicas))

    async def hold(self) -> HeldWorker:
        """Take no more orders and let go of every replica without ending it, for another image of this process to take back."""
        self._held = True
        hosted = list(self._hosted.values())
        found = await asyncio.gather(*(each.hold() for each in hosted), return_exceptions=True)
        held = [self._found(each, it) for each, it in zip(hosted, found, strict=True)]
        with contextlib.suppress(TimeoutError):  # the supervisor may be away; what still runs is told by joining again
            async with asyncio.timeout(LAST_NEWS):
                await self._delivered.wait()
        for task in (self._link, self._cutting, self._sampling):
            if task is not None:
                task.cancel()
        return self._handover([each for each in held if each is not None])

    def _found(self, hosted: Hosted, held: HeldReplica | BaseException | None) -> HeldReplica | None:
        """One that broke while it was let go of is taken back as it was last known: a worker that stays held would refuse all."""
        if not isinstance(held, BaseException):
            return held
        log.error("a replica was not let go of in order", replica=hosted.replica.id, exc_info=held)
        return hosted.sketch()

    async def take_back(self, held: HeldWorker) -> None:
        """Go on with what ``hold`` let go of."""
        self._begun |= set(held.begun)
        self._hosted = {each.replica.id: Hosted.taken_back(self._host, each) for each in held.replicas}
        self._held = False

    # --- called by the supervisor ---

    async def start(self, assignment: Assignment) -> None:
        """Begin a replica; its life is told by events.

        Raises:
            SlotTaken: this worker's own ledger says no, or this very life has been here and is over. A start that is
                already under way is not begun twice.
        """
        self._refuse_while_held()
        replica = assignment.replica
        held = self._hosted.get(replica.id)
        if held is not None and held.replica.epoch == replica.epoch:
            return
        if held is not None:
            raise SlotTaken(f"Replica {replica.id} still runs here with epoch {held.replica.epoch}.")
        if replica.epoch in self._begun:
            raise SlotTaken(f"Replica {replica.id} has had its life of epoch {replica.epoch} here.")
        devices = self._verify(replica)
        self._begun.add(replica.epoch)
        hosted = Hosted(self._host, assignment, replica, devices, stderr=self._log_of(replica.id))
        self._hosted[replica.id] = hosted
        hosted.begin()

    def _refuse_while_held(self) -> None:
        """No order gets lost: the supervisor gives those that were refused again."""
        if self._held:
            raise SlotTaken(f"Worker {self._me.address} is being upgraded.")

    def _log_of(self, replica_id: ReplicaId) -> Path:
        return self._logs / f"{replica_id}.stderr"

    def _verify(self, replica: Replica) -> tuple[Device, ...]:
        if replica.slot is None or replica.slot.worker_id != self._me.id:
            raise SlotTaken(f"Replica {replica.id} is bound to another worker.")
        devices: list[Device] = []
        for uuid in replica.slot.device_uuids:
            device = self._me.device(uuid)
            if device is None:
                raise SlotTaken(f"Worker {self._me.address} has no device {uuid}.")
            on_device, in_domain = self._charged(device)
            # Devices of one memory domain draw on the same free memory, so those before it count too.
            in_domain += replica.reserved_bytes * sum(other.memory_domain == device.memory_domain for other in devices)
            if not fits(device, on_device, in_domain, self._observed.get(uuid), replica.reserved_bytes):
                raise SlotTaken(f"Device {device.index} of worker {self._me.address} has no room for {replica.reserved_bytes} bytes.")
            devices.append(device)
        return tuple(devices)

    def _charged(self, device: Device) -> tuple[int, int]:
        """Bytes reserved on the device, and in its memory domain by replicas that are not loaded yet."""
        on_device = in_domain = 0
        for hosted in self._hosted.values():
            for held in hosted.devices:
                on_device += hosted.replica.reserved_bytes if held.uuid == device.uuid else 0
                in_domain += (
                    hosted.replica.reserved_bytes if held.memory_domain == device.memory_domain and not hosted.replica.loaded else 0
                )
        return on_device, in_domain

    async def stop(self, replica_id: ReplicaId, epoch: Epoch, drain: float) -> None:
        """Drain and end a replica; returns at once. One that is not here is told as ended."""
        self._refuse_while_held()
        hosted = self._hosted.get(replica_id)
        if hosted is not None and hosted.replica.epoch <= epoch:
            hosted.ask_stop(drain)
        elif hosted is None:
            self._tell(ReplicaEnded(replica_id, epoch, worker_id=self._me.id))

    async def inspect(self, path: str, roots: Sequence[Path] | None = None) -> ModelFiles:
        """Look into a folder of this host, within ``roots`` if there are any named. Raises ModelNotFound, Forbidden."""
        return await asyncio.to_thread(model_files.inspect, Path(path), roots)

    async def stock(self) -> Stock:
        """Which model files this host has, or could get."""
        cached = await asyncio.to_thread(cached_keys, self._settings.home.model_cache)
        return Stock(cached, await asyncio.to_thread(hub_in_reach, os.environ))

    async def stay(self) -> None:
        """For the supervisor, which notices by it that this process is gone."""
        await asyncio.sleep(STAY)

    async def usage(self) -> WorkerUsage:
        """Memory and utilisation of the devices, now."""
        usage = await asyncio.to_thread(self._inventory.usage)
        return WorkerUsage(
            self._me.id,
            self._me.address,
            {u: x.free_bytes for u, x in usage.items() if x.free_bytes is not None},
            {u: x.utilization for u, x in usage.items() if x.utilization is not None},
        )

    async def readings(self) -> tuple[Reading, ...]:
        """Of its devices and replicas, every two seconds for the last fifteen minutes, oldest first."""
        return self._sampler.readings.all()

    def _stats(self) -> list[Coroutine[Any, Any, ReplicaStats]]:
        ready = [h.ref for h in self._hosted.values() if h.replica.phase is Phase.READY and h.ref is not None]
        return [ref.stats(STATS) for ref in ready]

    async def written(self, replica_id: ReplicaId, lines: int, after: int | None) -> Written:
        """What the processes of this replica wrote here, the dead ones too: the last lines, or what follows a position.

        Position 0 if there never was one.
        """
        log_file = LogFile(self._log_of(replica_id))
        if log_file.path.parent != self._logs:  # the name of a replica that is gone comes from whoever asks
            return Written(replica_id, self._me.id, 0, "")
        found = await (asyncio.to_thread(log_file.tail, lines) if after is None else asyncio.to_thread(log_file.after, after))
        return Written(replica_id, self._me.id, found.position, redacted(found.text))

    async def _keep_logs_short(self) -> None:
        while True:
            await asyncio.sleep(self._settings.timings.health_every)
            used = {hosted.stderr for hosted in self._hosted.values()}
            for path in used:
                if await asyncio.to_thread(LogFile(path).cut):
                    log.info("log was cut", path=str(path))
            await asyncio.to_thread(forget, self._logs, used)

    # --- news for the supervisor ---

    def _tell(self, event: Event) -> None:
        self._outbox.append(event)
        self._delivered.clear()
        self._news.set()

    def _ended(self, replica: Replica) -> None:
        held = self._hosted.get(replica.id)
        if held is not None and held.replica.epoch == replica.epoch:
            del self._hosted[replica.id]

    async def _keep_link(self) -> None:
        """Join, beat, and join again whenever the supervisor was away or has forgotten us; each reason is logged once."""
        said = ""
        while True:
            try:
                supervisor = SupervisorRef(await find_supervisor(self._settings))
                epoch = await self._join(supervisor)
                self._supervisor, said = supervisor, ""
                await self._beat_until_lost(supervisor, epoch)
            except (SupervisorUnreachable, StaleEpoch) as error:
                if error.message != said:
                    log.warning("no supervisor, trying again every second", reason=error.message)
                said = error.message
                await asyncio.sleep(RECONNECT)
            except XinferError as error:
                log.error("the supervisor refuses this worker", reason=error.message)
                await asyncio.sleep(5 * RECONNECT)
            except Exception:  # without its link a worker is lost for good, replicas and all
                log.exception("the link to the supervisor broke off")
                await asyncio.sleep(5 * RECONNECT)

    async def _join(self, supervisor: SupervisorRef) -> Epoch:
        running = tuple(h.replica for h in self._hosted.values())
        me = replace(self._me, free_bytes=await self._free(), last_seen=time.time())
        welcome = await supervisor.join(Hello(me, running, max(self._begun, default=Epoch(0))))
        self._me = replace(self._me, epoch=welcome.epoch)
        self._joined.set()
        log.info("joined", supervisor_epoch=welcome.supervisor_epoch, epoch=welcome.epoch, running=len(running))
        return welcome.epoch

    async def _beat_until_lost(self, supervisor: SupervisorRef, epoch: Epoch) -> None:
        every, told = self._settings.timings.heartbeat, None
        while True:
            news = tuple(self._outbox)
            running = tuple((h.replica.id, h.replica.epoch) for h in self._hosted.values())
            last = self._sampler.readings.last
            beat = Beat(self._me.id, epoch, await self._free(), running, None if last is told else last)
            await supervisor.beat(beat, news)
            told = last
            for _ in news:  # only what was delivered; more may have come meanwhile
                self._outbox.popleft()
            if not self._outbox:
                self._delivered.set()
                self._news.clear()
                try:
                    async with asyncio.timeout(every):
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def _free(self) -> dict[DeviceUuid, int]:
        usage = await asyncio.to_thread(self._inventory.usage)
        self._observed = {u: x.free_bytes for u, x in usage.items() if x.free_bytes is not None}
        return self._observed
