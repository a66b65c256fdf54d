"""Typed references: what may be asked of a replica, a worker and the supervisor, with deadlines and our own errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xinfer.actors import rpc
from xinfer.actors.messages import (
    API_UID,
    SUPERVISOR_UID,
    WORKER_UID,
    Beat,
    Drained,
    Hello,
    Loaded,
    LoadProgress,
    ReplicaStats,
    Scaled,
    Stock,
    Upgraded,
    Welcome,
    WorkerUsage,
    Written,
)
from xinfer.actors.packing import pack, pack_items, unpack_emissions, unpack_result
from xinfer.actors.watch import News, Whole
from xinfer.batching.work import ShardResult, WorkItem
from xinfer.catalog.files import ModelFiles
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.load import ModelLoad
from xinfer.cluster.reading import Reading
from xinfer.cluster.replica import Assignment
from xinfer.cluster.routes import RouteTable
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.events import Event
from xinfer.errors import DeadlineExceeded, ReplicaLost, SupervisorUnreachable, WorkerNotFound
from xinfer.generation.job import Emission, GenerationJob
from xinfer.schemas.cluster import RebalanceReply, RebalanceRequest
from xinfer.schemas.launch import LaunchRequest, Placement, PlanReply
from xinfer.schemas.models import ScaleRequest
from xinfer.store.history import Launched

DIAL = 4.0
CONTROL = 20.0
STOP = 120.0
STAY = 60.0
REHEARSAL = 90.0
GOODBYE = 3.0
REPORT = 5.0
SIBLING = 1.0


class ReplicaRef:
    """One life of one replica.

    Raises (every call): ReplicaLost, DeadlineExceeded, and what the method says.
    """

    def __init__(self, address: Address, uid: str) -> None:
        self.address = address
        self._uid = uid
        self._actor: Any = None
        self._dialling = asyncio.Lock()

    async def _call(self, method: str, *args: Any, timeout: float) -> Any:
        what = f"Replica {self._uid}"
        try:
            if self._actor is None:
                async with self._dialling:
                    if self._actor is None:
                        self._actor = await rpc.actor(self.address, self._uid, min(DIAL, timeout), what)
            return await rpc.call(getattr(self._actor, method)(*args), timeout, what)
        except rpc.PeerLost as error:
            self._actor = None
            raise ReplicaLost(error.message) from error

    async def load(self, timeout: float) -> Loaded:
        """Fetch, load, warm up, calibrate. Raises LaunchFailed and its kin."""
        return await self._call("load", timeout=timeout)  # type: ignore[no-any-return]

    async def progress(self, timeout: float) -> LoadProgress:
        """How far ``load`` has come."""
        return await self._call("progress", timeout=timeout)  # type: ignore[no-any-return]

    async def run(self, items: tuple[WorkItem, ...], timeout: float, urgent: bool = False) -> ShardResult:
        """Run one shard, ahead of what is not urgent. Raises ReplicaBusy, EngineError."""
        return unpack_result(await self._call("run", pack_items(items), urgent, timeout=timeout))

    async def begin(self, caller: str, job: GenerationJob, timeout: float) -> int:
        """Begin one answer; tokens of its prompt. Raises InvalidItem, ReplicaBusy, EngineError."""
        return await self._call("begin", caller, pack(job), timeout=timeout)  # type: ignore[no-any-return]

    async def pull(self, caller: str, seen: Mapping[str, int], wait: float, timeout: float) -> tuple[Emission, ...]:
        """More of this caller's answers, as soon as there is any; empty after ``wait`` seconds."""
        return unpack_emissions(await self._call("pull", caller, dict(seen), wait, timeout=timeout))

    async def cancel(self, keys: Sequence[str], timeout: float) -> None:
        """Nobody waits for these answers."""
        await self._call("cancel", tuple(keys), timeout=timeout)

    async def stats(self, timeout: float) -> ReplicaStats:
        """Figures since it became ready."""
        return await self._call("stats", timeout=timeout)  # type: ignore[no-any-return]

    async def health(self, timeout: float) -> None:
        """A real forward of one item. Raises EngineError."""
        await self._call("health", timeout=timeout)

    async def drain(self, timeout: float) -> None:
        """Take no new work and return when the last shard is answered."""
        await self._call("drain", timeout=timeout)


class WorkerRef:
    """One worker, as the supervisor calls it.

    Raises (every call): WorkerNotFound if the link is gone, DeadlineExceeded.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._actor: Any = None

    async def _call(self, method: str, *args: Any, timeout: float = CONTROL) -> Any:
        what = f"The worker at {self._address}"
        try:
            if self._actor is None:
                self._actor = await rpc.actor(self._address, WORKER_UID, DIAL, what)
            return await rpc.call(getattr(self._actor, method)(*args), timeout, what)
        except rpc.PeerLost as error:
            self._actor = None
            raise WorkerNotFound(error.message) from error

    async def start(self, assignment: Assignment) -> None:
        """Begin a replica; returns at once. Raises SlotTaken."""
        await self._call("start", assignment)

    async def stop(self, replica_id: ReplicaId, epoch: Epoch, drain: float) -> None:
        """Drain and end a replica; returns at once. An unknown one is reported as ended."""
        await self._call("stop", replica_id, epoch, drain)

    async def inspect(self, path: str, roots: Sequence[Path] | None = None) -> ModelFiles:
        """Look into a folder, within ``roots`` if there are any named. Raises ModelNotFound, Forbidden."""
        return await self._call("inspect", path, roots)  # type: ignore[no-any-return]

    async def stock(self) -> Stock:
        """Which model files it has, or could get."""
        return await self._call("stock", timeout=10.0)  # type: ignore[no-any-return]

    async def upgrade(self) -> str:
        """Take up the code on its disk; the version that is about to run. Raises UpgradeRefused, Unavailable."""
        return await self._call("upgrade", timeout=REHEARSAL)  # type: ignore[no-any-return]

    async def stay(self) -> None:
        """Returns after some time; until then the call is a link that breaks when the worker's process dies."""
        await self._call("stay", timeout=STAY + CONTROL)

    async def usage(self) -> WorkerUsage:
        """Memory and utilisation of its devices, now."""
        return await self._call("usage", timeout=3.0)  # type: ignore[no-any-return]

    async def readings(self) -> tuple[Reading, ...]:
        """Of its devices and replicas, every two seconds for the last fifteen minutes, oldest first."""
        return await self._call("readings", timeout=5.0)  # type: ignore[no-any-return]

    async def written(self, replica_id: ReplicaId, lines: int, after: int | None) -> Written:
        """What the replica's processes wrote here: the last lines, or what follows a position."""
        return await self._call("written", replica_id, lines, after, timeout=5.0)  # type: ignore[no-any-return]


class ApiRef:
    """One API process, as its siblings call it.

    Raises (every call): PeerLost, DeadlineExceeded.
    """

    def __init__(self, address: Address) -> None:
        self._address = address

    async def _call(self, method: str, *args: Any) -> Any:
        what = f"The API process at {self._address}"
        return await rpc.call(getattr(await rpc.actor(self._address, API_UID, SIBLING, what), method)(*args), SIBLING, what)

    async def why(self, request_id: str) -> dict[str, Any] | None:
        """The story of one request, if it ran there."""
        return await self._call("why", request_id)  # type: ignore[no-any-return]

    async def abort(self, request_id: str, owner: str | None = None) -> int:
        """Cancel that request if it runs there, of that key (None: of anyone); returns how many calls it stopped."""
        return await self._call("abort", request_id, owner)  # type: ignore[no-any-return]

    async def metrics(self) -> bytes:
        """What it has counted, pickled."""
        return await self._call("metrics")  # type: ignore[no-any-return]


class SupervisorRef:
    """The supervisor, as workers and API processes call it.

    Raises (every call): SupervisorUnreachable.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._actor: Any = None
        self._dialling = asyncio.Lock()

    async def _call(self, method: str, *args: Any, timeout: float = CONTROL) -> Any:
        what = f"The supervisor at {self._address}"
        try:
            if self._actor is None:
                async with self._dialling:
                    if self._actor is None:
                        self._actor = await rpc.actor(self._address, SUPERVISOR_UID, DIAL, what)
            return await rpc.call(getattr(self._actor, method)(*args), timeout, what)
        except (rpc.PeerLost, DeadlineExceeded) as error:
            self._actor = None
            raise SupervisorUnreachable(f"{error.message} Inference goes on; try again.", retry_after=2.0) from error

    # --- workers ---

    async def join(self, hello: Hello) -> Welcome:
        """Register. Raises ConfigError for a worker that cannot belong here."""
        return await self._call("join", hello)  # type: ignore[no-any-return]

    async def beat(self, beat: Beat, events: tuple[Event, ...]) -> None:
        """Heartbeat with news. Raises StaleEpoch: join again."""
        await self._call("beat", beat, events)

    async def leave(self, worker_id: WorkerId, epoch: Epoch) -> None:
        """A clean goodbye: its replicas are placed elsewhere."""
        await self._call("leave", worker_id, epoch, timeout=GOODBYE)

    # --- API processes ---

    async def routes(self, epoch: Epoch, version: int, wait: float, asker: Address | None = None) -> RouteTable | None:
        """The route table, as soon as it differs from ``(epoch, version)``; None after ``wait`` seconds.

        ``asker`` is the API process's own address, for its siblings.
        """
        return await self._call("routes", epoch, version, wait, asker, timeout=wait + 5.0)  # type: ignore[no-any-return]

    async def api_processes(self) -> tuple[Address, ...]:
        """API processes that asked for routes lately."""
        return await self._call("api_processes", timeout=SIBLING)  # type: ignore[no-any-return]

    async def report(self, process: Address, loads: Mapping[ModelUid, ModelLoad]) -> dict[ModelUid, str]:
        """What an API process has to do for each model; returns the models that it waits for and that cannot be woken, with the reason."""
        return await self._call("report", process, loads, timeout=REPORT)  # type: ignore[no-any-return]

    async def snapshot(self) -> Snapshot:
        """The whole cluster, for listings."""
        return await self._call("snapshot")  # type: ignore[no-any-return]

    async def news(self, epoch: Epoch, number: int, serial: int, wait: float) -> News:
        """Changes and readings that came after those named, as soon as there are any."""
        return await self._call("news", epoch, number, serial, wait, timeout=wait + 5.0)  # type: ignore[no-any-return]

    async def launches(self, limit: int) -> tuple[Launched, ...]:
        """The launches that were accepted last, newest first."""
        return await self._call("launches", limit)  # type: ignore[no-any-return]

    async def history(self, epoch: Epoch, number: int) -> News:
        """The changes after that one, oldest first; all that are kept where it is not known."""
        return await self._call("history", epoch, number)  # type: ignore[no-any-return]

    async def whole(self) -> Whole:
        """The whole cluster with the number of its last change."""
        return await self._call("whole")  # type: ignore[no-any-return]

    async def readings(self, worker_id: WorkerId) -> tuple[Reading, ...]:
        """The last fifteen minutes of one worker. Raises WorkerNotFound: unknown, or it does not answer."""
        return await self._call("readings", worker_id)  # type: ignore[no-any-return]

    async def launch(self, request: LaunchRequest, confined: bool = False) -> ModelUid:
        """Place and begin a deployment. Raises InvalidRequest, NoFit, ModelNotFound, AlreadyExists, Forbidden."""
        return await self._call("launch", request, confined, timeout=60.0)  # type: ignore[no-any-return]

    async def plan(self, request: LaunchRequest, confined: bool = False) -> PlanReply:
        """What ``launch`` would do."""
        return await self._call("plan", request, confined, timeout=60.0)  # type: ignore[no-any-return]

    async def stop(self, model_uid: ModelUid, drain: bool = True) -> None:
        """Stop a deployment and wait until it is gone, or for drain and stop time. Raises ModelNotFound."""
        await self._call("stop", model_uid, drain, timeout=STOP)

    async def add_replicas(self, model_uid: ModelUid, placement: Placement) -> tuple[ReplicaId, ...]:
        """Add replicas. Raises ModelNotFound, InvalidPlacement, NoFit."""
        return await self._call("add_replicas", model_uid, placement)  # type: ignore[no-any-return]

    async def remove_replica(self, model_uid: ModelUid, replica_id: ReplicaId) -> int:
        """Remove one replica; returns how many are left. Raises ModelNotFound, ReplicaNotFound."""
        return await self._call("remove_replica", model_uid, replica_id)  # type: ignore[no-any-return]

    async def scale(self, model_uid: ModelUid, wanted: ScaleRequest) -> Scaled:
        """Have so many replicas, or within other bounds. Raises ModelNotFound, InvalidRequest, NoFit."""
        return await self._call("scale", model_uid, wanted)  # type: ignore[no-any-return]

    async def move(self, model_uid: ModelUid, replica_id: ReplicaId, placement: Placement) -> ReplicaId:
        """Start the replica that takes another's place; its id. Raises ModelNotFound, ReplicaNotFound, InvalidRequest, NoFit."""
        return await self._call("move", model_uid, replica_id, placement)  # type: ignore[no-any-return]

    async def wait_ready(self, model_uid: ModelUid, wait: float) -> bool:
        """True once every replica is READY, False after ``wait`` seconds. Raises ModelNotFound, LaunchFailed and kin."""
        return await self._call("wait_ready", model_uid, wait, timeout=wait + 5.0)  # type: ignore[no-any-return]

    async def upgrade(self, name: str) -> Upgraded:
        """A worker takes up new code; returns once it is back. Raises InvalidPlacement, WorkerNotFound, UpgradeRefused."""
        return await self._call("upgrade", name, timeout=2 * REHEARSAL)  # type: ignore[no-any-return]

    async def drain(self, name: str, undo: bool | None) -> Drained:
        """Empty a worker, end that, or (None) look. Raises InvalidPlacement, WorkerNotFound."""
        return await self._call("drain", name, undo)  # type: ignore[no-any-return]

    async def rebalance(self, request: RebalanceRequest) -> RebalanceReply:
        """Move replicas to make room, or only name them. Raises InvalidRequest, Unavailable."""
        return await self._call("rebalance", request)  # type: ignore[no-any-return]

    async def make_key(self, key: Key) -> None:
        """Take an API key from now on. Raises InvalidRequest, AlreadyExists."""
        await self._call("make_key", key)

    async def revoke_key(self, name: str) -> Key:
        """Take an API key no more. Raises KeyNotFound, InvalidRequest."""
        return await self._call("revoke_key", name)  # type: ignore[no-any-return]

    async def written(self, model_uid: ModelUid, name: str, lines: int, after: tuple[str, int] | None) -> Written:
        """What a replica's processes wrote: the last lines, or what follows. Raises ModelNotFound, ReplicaNotFound."""
        return await self._call("written", model_uid, name, lines, after)  # type: ignore[no-any-return]

    async def usage(self) -> tuple[WorkerUsage, ...]:
        """Live figures of every worker that answers."""
        return await self._call("usage")  # type: ignore[no-any-return]
