"""What connects an API process to the rest: replica calls, the supervisor, and the route poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from xinfer.actors.messages import Drained, ReplicaStats, Scaled, Upgraded, WorkerUsage, Written
from xinfer.actors.refs import ReplicaRef, SupervisorRef
from xinfer.actors.watch import News, Whole
from xinfer.batching.work import ShardResult, WorkItem
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.reading import Reading
from xinfer.cluster.routes import Route, RouteTable
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import SupervisorUnreachable, XinferError
from xinfer.generation.job import Emission, GenerationJob
from xinfer.schemas.cluster import RebalanceReply, RebalanceRequest
from xinfer.schemas.launch import LaunchRequest, Placement, PlanReply
from xinfer.schemas.models import ScaleRequest
from xinfer.store.history import Launched

log = structlog.get_logger(__name__)

PROBE = 2.0
STATS = 1.0
LONG_POLL = 20.0
CATCH_UP = 2.0
RETRY_FIRST, RETRY_MOST = 0.1, 1.0


class ReplicaCalls:
    """Calls to replicas by route; one reference per life of a replica."""

    def __init__(self) -> None:
        self._refs: dict[str, ReplicaRef] = {}

    def _ref(self, route: Route) -> ReplicaRef:
        ref = self._refs.get(route.uid)
        if ref is None:
            ref = self._refs[route.uid] = ReplicaRef(route.address, route.uid)
        return ref

    async def run(self, route: Route, items: tuple[WorkItem, ...], timeout: float, urgent: bool = False) -> ShardResult:
        """Run one shard. Raises ReplicaLost, ReplicaBusy, DeadlineExceeded, EngineError."""
        return await self._ref(route).run(items, timeout, urgent)

    async def begin(self, route: Route, caller: str, job: GenerationJob, timeout: float) -> int:
        """Begin one answer. Raises InvalidItem, ReplicaLost, ReplicaBusy, DeadlineExceeded, EngineError."""
        return await self._ref(route).begin(caller, job, timeout)

    async def pull(self, route: Route, caller: str, seen: Mapping[str, int], wait: float, timeout: float) -> tuple[Emission, ...]:
        """More of this caller's answers. Raises ReplicaLost, DeadlineExceeded."""
        return await self._ref(route).pull(caller, seen, wait, timeout)

    async def cancel(self, route: Route, keys: Sequence[str], timeout: float) -> None:
        """Nobody waits for these. Raises ReplicaLost, DeadlineExceeded."""
        await self._ref(route).cancel(keys, timeout)

    async def probe(self, route: Route) -> bool:
        """Whether the replica answers a real forward."""
        try:
            await self._ref(route).health(PROBE)
        except XinferError:
            return False
        return True

    def keep(self, table: RouteTable) -> None:
        """Forget the references to lives that have left the routes."""
        alive = {r.uid for m in table.models.values() for r in m.replicas}
        self._refs = {uid: ref for uid, ref in self._refs.items() if uid in alive}

    async def stats(self, table: RouteTable) -> dict[ReplicaId, ReplicaStats]:
        """Figures of every replica that answers within a second."""
        routes = [r for m in table.models.values() for r in m.replicas]
        answers = await asyncio.gather(*(self._ref(r).stats(STATS) for r in routes), return_exceptions=True)
        return {a.replica_id: a for a in answers if isinstance(a, ReplicaStats)}


async def poll_routes(
    supervisor: SupervisorRef, known: Callable[[], RouteTable], update: Callable[[RouteTable], None], asker: Address | None = None
) -> None:
    """Long-poll the route table for ever. While the supervisor is away or fails, the last table stays in force."""
    pause = RETRY_FIRST
    while True:
        try:
            await _ask_routes(supervisor, known, update, LONG_POLL, asker)
            pause = RETRY_FIRST
            continue
        except XinferError as error:
            log.warning("no news from the supervisor, serving from the last routes", reason=error.message)
        except Exception:  # without the poll this process would serve from old routes for ever
            log.exception("the route poll broke off")
        await asyncio.sleep(pause)
        pause = min(RETRY_MOST, 2 * pause)


async def catch_up(supervisor: SupervisorRef, known: Callable[[], RouteTable], update: Callable[[RouteTable], None]) -> None:
    """Have the table of this moment, so that what the supervisor has just said also holds for the next request here."""
    try:
        async with asyncio.timeout(CATCH_UP):
            await _ask_routes(supervisor, known, update, 0.0)
    except (XinferError, TimeoutError):
        log.warning("the route table of this moment did not come; the poll will bring it")


async def _ask_routes(
    supervisor: SupervisorRef,
    known: Callable[[], RouteTable],
    update: Callable[[RouteTable], None],
    wait: float,
    asker: Address | None = None,
) -> None:
    table = known()
    fresh = await supervisor.routes(table.epoch, table.version, wait, asker)
    table = known()
    # Two questions may be on their way at once: the later answer may be the older table. Another epoch is always taken,
    # even a lower one (a supervisor whose state was lost): refused, it would be asked for again at once, for ever.
    if fresh is not None and (fresh.epoch != table.epoch or fresh.version > table.version):
        update(fresh)


class SupervisorControl:
    """The management port of the API (``api.ports.Control``) over the supervisor and the replicas."""

    def __init__(
        self, supervisor: SupervisorRef, replicas: ReplicaCalls, routes: Callable[[], RouteTable], update: Callable[[RouteTable], None]
    ) -> None:
        self._supervisor = supervisor
        self._replicas = replicas
        self._routes = routes
        self._update = update

    async def snapshot(self) -> Snapshot:
        """The whole cluster."""
        return await self._supervisor.snapshot()

    async def news(self, epoch: Epoch, number: int, serial: int, wait: float) -> News:
        """What is new to one who watches."""
        return await self._supervisor.news(epoch, number, serial, wait)

    async def launches(self, limit: int) -> tuple[Launched, ...]:
        """See ``ports.Control``."""
        return await self._supervisor.launches(limit)

    async def history(self, epoch: Epoch, number: int) -> News:
        """The changes after that one, oldest first."""
        return await self._supervisor.history(epoch, number)

    async def whole(self) -> Whole:
        """The whole cluster with the number of its last change."""
        return await self._supervisor.whole()

    async def readings(self, worker_id: WorkerId) -> tuple[Reading, ...]:
        """The last fifteen minutes of one worker."""
        return await self._supervisor.readings(worker_id)

    async def launch(self, request: LaunchRequest, confined: bool = False) -> ModelUid:
        """Place and begin a deployment."""
        return await self._supervisor.launch(request, confined)

    async def plan(self, request: LaunchRequest, confined: bool = False) -> PlanReply:
        """What ``launch`` would do."""
        return await self._supervisor.plan(request, confined)

    async def stop(self, model_uid: ModelUid, drain: bool = True) -> None:
        """Stop a deployment; the next request here does not find it."""
        await self._supervisor.stop(model_uid, drain)
        await catch_up(self._supervisor, self._routes, self._update)

    async def cancel(self, model_uid: ModelUid) -> None:
        """Cancel a launch: the same as stopping it, at whatever stage it is."""
        await self.stop(model_uid)

    async def wait_ready(self, model_uid: ModelUid, timeout: float) -> bool:
        """Wait until every replica is ready and the next request here finds them.

        It polls, so that a supervisor may restart meanwhile.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while (left := end - loop.time()) > 0:
            try:
                if await self._supervisor.wait_ready(model_uid, min(LONG_POLL, left)):
                    await catch_up(self._supervisor, self._routes, self._update)
                    return True
            except SupervisorUnreachable:
                await asyncio.sleep(min(RETRY_MOST, left))
        return False

    async def add_replicas(self, model_uid: ModelUid, placement: Placement) -> tuple[ReplicaId, ...]:
        """Add replicas."""
        return await self._supervisor.add_replicas(model_uid, placement)

    async def remove_replica(self, model_uid: ModelUid, replica_id: ReplicaId) -> int:
        """Remove one replica."""
        return await self._supervisor.remove_replica(model_uid, replica_id)

    async def scale(self, model_uid: ModelUid, wanted: ScaleRequest) -> Scaled:
        """Have so many replicas, or within other bounds."""
        return await self._supervisor.scale(model_uid, wanted)

    async def move(self, model_uid: ModelUid, replica_id: ReplicaId, placement: Placement) -> ReplicaId:
        """Start the replica that takes another's place."""
        return await self._supervisor.move(model_uid, replica_id, placement)

    async def drain(self, worker: str, undo: bool | None) -> Drained:
        """Empty a worker, end that, or (None) look."""
        return await self._supervisor.drain(worker, undo)

    async def rebalance(self, request: RebalanceRequest) -> RebalanceReply:
        """Move replicas to make room, or only name them."""
        return await self._supervisor.rebalance(request)

    async def make_key(self, key: Key) -> None:
        """Take a key; the next request here may use it, or needs one."""
        await self._supervisor.make_key(key)
        await catch_up(self._supervisor, self._routes, self._update)

    async def revoke_key(self, name: str) -> Key:
        """Take a key no more, from the next request here on."""
        key = await self._supervisor.revoke_key(name)
        await catch_up(self._supervisor, self._routes, self._update)
        return key

    async def written(self, model_uid: ModelUid, name: str, lines: int, after: tuple[str, int] | None) -> Written:
        """What a replica's processes wrote."""
        return await self._supervisor.written(model_uid, name, lines, after)

    async def upgrade(self, worker: str) -> Upgraded:
        """A worker takes up the code on its host."""
        return await self._supervisor.upgrade(worker)

    async def replica_stats(self) -> dict[ReplicaId, ReplicaStats]:
        """Figures straight from the replicas."""
        return await self._replicas.stats(self._routes())

    async def usage(self) -> tuple[WorkerUsage, ...]:
        """Live memory and utilisation of devices."""
        return await self._supervisor.usage()
