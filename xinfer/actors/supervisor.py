"""SupervisorActor: holds the snapshot, feeds events to ``control.step``, writes, adopts, carries out effects. Never on the data path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog
import xoscar as xo

from xinfer.actors.effects import EffectRunner
from xinfer.actors.keeping import Keeper
from xinfer.actors.messages import Beat, Drained, Hello, Scaled, Upgraded, Welcome, WorkerUsage, Written
from xinfer.actors.refs import WorkerRef
from xinfer.actors.survey import Survey
from xinfer.catalog.families import Families
from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.routes import RouteTable
from xinfer.cluster.routes_of import only_keys, route_table
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.demands import compile_addition, compile_growth, compile_move
from xinfer.control.drains import left_on
from xinfer.control.events import (
    DrainRequested,
    Event,
    KeyMade,
    KeyRevoked,
    LaunchRequested,
    MoveRequested,
    RebalanceRequested,
    ReplicaReady,
    ReplicaRemoved,
    ReplicasAdded,
    ScaledDown,
    StopRequested,
    Tick,
    WorkerBeat,
    WorkerGone,
    WorkerJoined,
)
from xinfer.control.keys import find
from xinfer.control.launch import compile_launch
from xinfer.control.liveness import must_rejoin
from xinfer.control.readiness import is_ready, is_settled
from xinfer.control.rebalancing import rooms_of, successors
from xinfer.control.step import step
from xinfer.control.whereabouts import unknown, whereabouts
from xinfer.control.workers import back_from
from xinfer.engines import registry
from xinfer.errors import ModelNotFound, StaleEpoch, StoreError, Unavailable
from xinfer.placement.describe import plan_reply, rebalance_reply
from xinfer.placement.named import find_worker
from xinfer.placement.plan import plan_launch
from xinfer.placement.rebalance import plan_rebalance
from xinfer.schemas.cluster import RebalanceReply, RebalanceRequest
from xinfer.schemas.launch import LaunchRequest, Placement, PlanReply
from xinfer.settings import Timings
from xinfer.store.store import Store

log = structlog.get_logger(__name__)

TICK = 0.5
AT_ONCE = 0.01
ASKED_LATELY = 60.0
COMES_BACK = 60.0


class SupervisorActor(xo.StatelessActor):
    """Tracks workers, devices and replicas; decides nothing itself."""

    def __init__(
        self,
        store: Store,
        snapshot: Snapshot,
        families: Families,
        survey: Survey,
        timings: Timings,
        model_roots: tuple[Path, ...] = (),
    ) -> None:
        super().__init__()
        self._model_roots = model_roots
        self._store = store
        self._snapshot = snapshot
        self._families = families
        self._survey = survey
        self._timings = timings
        self._changed = asyncio.Event()
        self._askers: dict[Address, float] = {}
        self._keeper = Keeper(store.figures)
        self._effects = EffectRunner(self._worker, self.apply, lambda assignment: self._keeper.prepared(assignment, self._snapshot))
        self._ticking: asyncio.Task[None] | None = None
        self._upgrading: dict[WorkerId, Worker] = {}

    async def begin(self) -> None:
        """Start the clock."""
        self._ticking = asyncio.create_task(self._tick(), name="tick")

    async def close(self) -> None:
        """Stop the clock and let go of the store."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._effects.close()
        self._store.close()

    def apply(self, event: Event) -> None:
        """The one way the snapshot changes: step, write, adopt, then carry out. Nothing interleaves.

        Raises:
            XinferError: the event is refused, or the write failed; nothing has changed.
        """
        before = self._snapshot
        after, effects = step(before, event, time.time(), self._timings)
        if after is not before:
            self._store.save(before, after)
            self._snapshot = after
            self._changed.set()
            self._changed = asyncio.Event()
        self._effects.submit(effects)

    async def _tick(self) -> None:
        while True:
            # What one step leaves to the next is done at once, but heartbeats and requests have their turn between.
            await asyncio.sleep(AT_ONCE if self._snapshot.behind else TICK)
            try:
                self._digest(Tick(time.time()))
            except StoreError as error:
                log.error("tick not written", reason=error.message)

    def _digest(self, event: Event) -> None:
        """``apply`` for what nobody can be asked to say differently: an event that cannot be digested is logged and left out.

        Raises:
            StoreError: not written; it can be told again.
        """
        try:
            self.apply(event)
        except StoreError:
            raise
        except Exception:
            log.exception("event left out", kind=type(event).__name__)

    async def _until(self, met: Callable[[], bool], wait: float) -> bool:
        """Wait for a condition on the snapshot, looking only when it has changed."""
        try:
            async with asyncio.timeout(wait):
                while not met():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    # --- workers ---

    async def join(self, hello: Hello) -> Welcome:
        """Register a worker, or take it back with the replicas it still runs."""
        self.apply(WorkerJoined(hello.worker, hello.running))
        worker = self._snapshot.workers[hello.worker.id]
        log.info("worker joined", worker=worker.address, devices=len(worker.devices), running=len(hello.running))
        return Welcome(worker.epoch, self._snapshot.epoch, self._timings.heartbeat)

    async def beat(self, beat: Beat, events: tuple[Event, ...]) -> None:
        """A heartbeat with news.

        Raises:
            StaleEpoch: this supervisor does not know the registration; join again.
        """
        if must_rejoin(self._snapshot, beat.worker_id, beat.epoch):
            raise StaleEpoch(f"Worker {beat.worker_id} is not registered with epoch {beat.epoch}.")
        for event in events:
            if isinstance(event, ReplicaReady):
                event, before = self._keeper.levelled(event, self._snapshot), self._snapshot
                self._digest(event)
                self._keeper.keep(event, before, self._snapshot)
            else:
                self._digest(event)
        self.apply(WorkerBeat(beat.worker_id, beat.epoch, beat.free_bytes, beat.running))

    async def leave(self, worker_id: WorkerId, epoch: Epoch) -> None:
        """A worker stops on purpose, its replicas with it."""
        self.apply(WorkerGone(worker_id, epoch))
        log.info("worker left", worker=worker_id)

    def _worker(self, worker_id: WorkerId) -> WorkerRef | None:
        worker = self._snapshot.workers.get(worker_id)
        return None if worker is None else self._survey.ref(worker.address)

    # --- API processes ---

    async def api_processes(self) -> tuple[Address, ...]:
        """API processes that asked for routes within the last minute."""
        now = time.time()
        self._askers = {address: seen for address, seen in self._askers.items() if now - seen < ASKED_LATELY}
        return tuple(self._askers)

    async def routes(self, epoch: Epoch, version: int, wait: float, asker: Address | None = None) -> RouteTable | None:
        """The route table, at once if it is another than ``(epoch, version)``, else when it changes; None after ``wait`` seconds."""
        if asker is not None:
            self._askers[asker] = time.time()

        def is_new() -> bool:
            # While workers are still expected back, the old table is truer than ours; who has none gets the keys.
            if self._snapshot.expected:
                return version < 0 and epoch != self._snapshot.epoch
            return (self._snapshot.epoch, self._snapshot.version) != (epoch, version)

        if not await self._until(is_new, wait):
            return None
        return only_keys(self._snapshot) if self._snapshot.expected else route_table(self._snapshot)

    async def snapshot(self) -> Snapshot:
        """The whole cluster, without what can be worked out of it."""
        return replace(self._snapshot, floor=None)

    async def launch(self, request: LaunchRequest, confined: bool = False) -> ModelUid:
        """Place and begin a deployment: all its replicas or none; ``confined`` to the model roots, if it names a path.

        Raises:
            InvalidRequest, NoFit, ModelNotFound, AlreadyExists, Forbidden, NoWorker, StoreError.
        """
        deployment = await self._compile(request, confined)
        self.apply(LaunchRequested(deployment))
        log.info("launched", model=deployment.uid, replicas=len(deployment.demands), engine=deployment.spec.engine)
        return deployment.uid

    async def plan(self, request: LaunchRequest, confined: bool = False) -> PlanReply:
        """What ``launch`` would do, from the same functions."""
        deployment = await self._compile(request, confined)
        return plan_reply(plan_launch(self._snapshot, deployment), deployment, self._snapshot)

    async def _settle(self) -> None:
        """Let workers come back first, after a start of this supervisor or with new code; what is asked for meanwhile waits."""

        def calm() -> bool:
            return not self._snapshot.expected and all(back_from(self._snapshot, old) for old in self._upgrading.values())

        await self._until(calm, self._timings.settle + 2 * TICK)

    async def _compile(self, request: LaunchRequest, confined: bool) -> Deployment:
        await self._settle()
        alive = [w for w in self._snapshot.workers.values() if w.state is WorkerState.ALIVE]
        findings = await self._survey.look(request, alive, self._model_roots if confined else None)
        return compile_launch(
            request,
            snapshot=self._snapshot,
            families=self._families,
            files=findings.files,
            engines=findings.engines,
            now=time.time(),
            base_bytes={name: registry.base_bytes(name) for name in registry.names()},
            engine_options={name: registry.declared_options(name) for name in registry.names()},
            measured=self._store.figures.measured,
            remembered=self._store.figures.chosen,
            divisions=registry.divisions(),
            offline=findings.offline,
            cached=findings.cached,
        )

    async def stop(self, model_uid: ModelUid) -> None:
        """Drain and stop a deployment; returns once it is gone, so that its name is free again. Raises ModelNotFound."""
        self._deployment(model_uid)
        self.apply(StopRequested(model_uid))
        await self._until(lambda: model_uid not in self._snapshot.deployments, self._timings.drain + self._timings.stop)

    async def add_replicas(self, model_uid: ModelUid, placement: Placement) -> tuple[ReplicaId, ...]:
        """Add replicas, all or none. Raises ModelNotFound, InvalidPlacement, NoFit."""
        await self._settle()
        demands = compile_addition(self._deployment(model_uid), placement, self._snapshot, registry.divisions())
        before = set(self._snapshot.replicas)
        self.apply(ReplicasAdded(model_uid, demands))
        return tuple(r for r in self._snapshot.replicas if r not in before)

    async def remove_replica(self, model_uid: ModelUid, replica_id: ReplicaId) -> int:
        """Remove one replica; returns how many stay desired. Raises ModelNotFound, ReplicaNotFound."""
        self._deployment(model_uid)
        self.apply(ReplicaRemoved(model_uid, replica_id))
        left = self._snapshot.deployments.get(model_uid)
        return 0 if left is None else left.wanted

    async def scale(self, model_uid: ModelUid, replicas: int) -> Scaled:
        """Have so many replicas; returns when they are placed, or leaving. Raises ModelNotFound, InvalidRequest, NoFit."""
        await self._settle()
        before = self._deployment(model_uid)
        more = replicas - before.wanted
        self.apply(ReplicasAdded(model_uid, compile_growth(before, more)) if more > 0 else ScaledDown(model_uid, replicas))
        return Scaled.between(before, self._deployment(model_uid))

    async def move(self, model_uid: ModelUid, replica_id: ReplicaId, placement: Placement) -> ReplicaId:
        """Start a replica that takes another's place once it is ready; returns its id.

        Raises:
            ModelNotFound, ReplicaNotFound, InvalidPlacement, InvalidRequest, NoFit.
        """
        await self._settle()
        deployment = self._deployment(model_uid)
        demand = compile_move(deployment, replica_id, placement, self._snapshot)
        self.apply(MoveRequested(model_uid, replica_id, demand))
        (successor,) = Scaled.between(deployment, self._deployment(model_uid)).added
        return successor

    async def wait_ready(self, model_uid: ModelUid, wait: float) -> bool:
        """True once every replica is READY; False after ``wait`` seconds. Raises as ``control.readiness.is_ready``."""
        self._deployment(model_uid)
        await self._until(lambda: is_settled(self._snapshot, model_uid), wait)
        return is_ready(self._snapshot, model_uid)

    def _deployment(self, model_uid: ModelUid) -> Deployment:
        deployment = self._snapshot.deployments.get(model_uid)
        if deployment is None:
            raise ModelNotFound(f"No model {model_uid!r} is running.", param="model_uid")  # others are not everybody's to know
        return deployment

    async def drain(self, name: str, undo: bool | None) -> Drained:
        """Begin to empty a worker, end that, or (None) look how far it is. Raises InvalidPlacement, WorkerNotFound."""
        await self._settle()
        workers = self._snapshot.workers
        worker_id = WorkerId(name) if name in self._snapshot.draining else find_worker(name, list(workers.values()), "worker").id
        if undo is True or (undo is False and worker_id not in self._snapshot.draining):
            self.apply(DrainRequested(worker_id, undo))
        leaving, staying = left_on(self._snapshot, worker_id)
        worker = self._snapshot.workers.get(worker_id)
        reasons = {each: self._snapshot.replicas[each].error for each in leaving if self._snapshot.replicas[each].error}
        return Drained(
            worker_id, Address("") if worker is None else worker.address, worker_id in self._snapshot.draining, leaving, staying, reasons
        )

    async def rebalance(self, request: RebalanceRequest) -> RebalanceReply:
        """Begin the moves that leave room, all or none, or only name them. Raises InvalidRequest, Unavailable."""
        await self._settle()
        before, rooms = self._snapshot, rooms_of(request, self._snapshot)
        plan = plan_rebalance(before, request.max_moves, rooms)
        if request.dry_run or not plan.moves:
            return rebalance_reply(plan, before, request.dry_run, {})
        self.apply(RebalanceRequested(request.max_moves, rooms))
        return rebalance_reply(plan, before, False, successors(self._snapshot))

    async def make_key(self, key: Key) -> None:
        """Take an API key from now on. Raises InvalidRequest, AlreadyExists."""
        await self._settle()  # until then API processes go on with the keys they have
        self.apply(KeyMade(key))
        log.info("key made", key=key.name, id=key.id, admin=key.admin)

    async def revoke_key(self, name: str) -> Key:
        """Take an API key, by name or id, no more; as it is now. Raises KeyNotFound, InvalidRequest."""
        await self._settle()
        key_id = find(self._snapshot.keys, name).id
        self.apply(KeyRevoked(name))
        log.info("key revoked", key=name, id=key_id)
        return self._snapshot.keys[key_id]

    async def written(self, model_uid: ModelUid, name: str, lines: int, after: tuple[str, int] | None) -> Written:
        """What the processes of a replica (by number or id) wrote where it is or was last: the last lines, or what follows ``after``.

        Raises:
            ModelNotFound, ReplicaNotFound: nothing of it is kept anywhere.
        """
        place = whereabouts(self._snapshot, model_uid, name)
        found = await self._survey.written(place, lines, after)
        if found is not None:
            return found
        if place.replica is None:
            raise unknown(self._snapshot, model_uid, name)
        return Written(place.id, *(after or ("", 0)), "" if after else place.replica.stderr_tail)

    async def upgrade(self, name: str) -> Upgraded:
        """Have a worker take up the code on its host; returns once it has joined again.

        Raises:
            InvalidPlacement, WorkerNotFound; UpgradeRefused: it goes on as it was; Unavailable: it has not come back yet.
        """
        await self._settle()
        asked = find_worker(name, list(self._snapshot.workers.values()), "worker")
        await self._survey.ref(asked.address).upgrade()
        before = self._snapshot  # what it is about to let go of; the rehearsal took its time
        old = self._upgrading[asked.id] = find_worker(asked.id, list(before.workers.values()), "worker")
        try:
            back = await self._until(lambda: back_from(self._snapshot, old), COMES_BACK)
        finally:
            self._upgrading.pop(old.id, None)
        if not back:
            raise Unavailable(f"Worker {old.address} is not back after {COMES_BACK:g} s; if it died, its launcher starts it again.")
        done = Upgraded.between(before, self._snapshot, old.id)
        log.info("worker upgraded", worker=done.address, before=done.version_before, now=done.version, kept=len(done.kept))
        return done

    async def usage(self) -> tuple[WorkerUsage, ...]:
        """Live figures of every worker that answers within 3 s."""
        return await self._survey.usage(list(self._snapshot.workers.values()))
