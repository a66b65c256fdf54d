"""SupervisorActor: holds the snapshot, feeds events to ``control.step``, writes, adopts, carries out effects. Never on the data path."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import structlog
import xoscar as xo

from xinfer.actors.autoscaler import Autoscaler
from xinfer.actors.effects import EffectRunner
from xinfer.actors.keeping import Keeper
from xinfer.actors.links import Links
from xinfer.actors.messages import Beat, Hello, Welcome, WorkerUsage
from xinfer.actors.orders import Orders
from xinfer.actors.refs import WorkerRef
from xinfer.actors.survey import Survey
from xinfer.actors.watch import News, Watch, Whole
from xinfer.catalog.families import Families
from xinfer.cluster.ids import Address, Epoch, ModelUid, WorkerId
from xinfer.cluster.load import ModelLoad
from xinfer.cluster.reading import Reading
from xinfer.cluster.routes import RouteTable
from xinfer.cluster.routes_of import only_keys, route_table
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.control.events import (
    Event,
    ReplicaReady,
    Tick,
    WorkerBeat,
    WorkerGone,
    WorkerHungUp,
    WorkerJoined,
)
from xinfer.control.liveness import must_rejoin
from xinfer.control.step import step
from xinfer.control.workers import back_from
from xinfer.errors import DeadlineExceeded, StaleEpoch, StoreError, WorkerNotFound
from xinfer.settings import Timings
from xinfer.store.store import Store

log = structlog.get_logger(__name__)

TICK = 0.5
AT_ONCE = 0.01
ASKED_LATELY = 60.0
POLLED_LATELY = 25.0


class SupervisorActor(Orders, xo.StatelessActor):
    """Tracks workers, devices and replicas; decides nothing itself. What people may ask of it is in ``orders``."""

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
        self._watch = Watch(snapshot)
        self._families = families
        self._survey = survey
        self._timings = timings
        self._changed = asyncio.Event()
        self._askers: dict[Address, float] = {}
        self._keeper = Keeper(store.figures)
        self._effects = EffectRunner(self._worker, self.apply, lambda assignment: self._keeper.prepared(assignment, self._snapshot))
        self._autoscaler = Autoscaler(lambda: self._snapshot, self.apply, timings)
        self._ticking: asyncio.Task[None] | None = None
        self._upgrading: dict[WorkerId, Worker] = {}
        self._links = Links(survey.ref, self._hung_up)

    async def begin(self) -> None:
        """Start the clock."""
        self._ticking = asyncio.create_task(self._tick(), name="tick")

    async def close(self) -> None:
        """Stop the clock and let go of the store."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._links.close()
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
            if not isinstance(event, WorkerBeat):  # what a heartbeat alone has changed is seen at the next tick
                self._watch.moved_on(after, time.time())
            self._changed.set()
            self._changed = asyncio.Event()
        self._effects.submit(effects)

    async def _tick(self) -> None:
        while True:
            # What one step leaves to the next is done at once, but heartbeats and requests have their turn between.
            await asyncio.sleep(AT_ONCE if self._snapshot.behind else TICK)
            try:
                self._digest(Tick(time.time()))
                self._guarded(lambda: self._autoscaler.tick(self._lately(POLLED_LATELY), time.time()), "scaling by load")
            except StoreError as error:
                log.error("tick not written", reason=error.message)

    def _digest(self, event: Event) -> None:
        """``apply`` for what nobody can be asked to say differently: an event that cannot be digested is logged and left out.

        Raises:
            StoreError: not written; it can be told again.
        """
        self._guarded(lambda: self.apply(event), type(event).__name__)

    def _guarded(self, action: Callable[[], None], kind: str) -> None:
        try:
            action()
        except StoreError:
            raise
        except Exception:
            log.exception("event left out", kind=kind)

    async def _until(self, met: Callable[[], bool], wait: float) -> bool:
        """Wait for a condition on the snapshot, looking only when it has changed."""
        try:
            async with asyncio.timeout(wait):
                while not met():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _settle(self) -> None:
        """Let workers come back first, after a start of this supervisor or with new code; what is asked for meanwhile waits."""

        def calm() -> bool:
            return not self._snapshot.expected and all(back_from(self._snapshot, old) for old in self._upgrading.values())

        await self._until(calm, self._timings.settle + 2 * TICK)

    # --- workers ---

    async def join(self, hello: Hello) -> Welcome:
        """Register a worker, or take it back with the replicas it still runs."""
        self.apply(WorkerJoined(hello.worker, hello.running, hello.begun))
        worker = self._snapshot.workers[hello.worker.id]
        self._links.hold(worker)
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
        self._watch.heard(beat.worker_id, beat.reading)
        self.apply(WorkerBeat(beat.worker_id, beat.epoch, beat.free_bytes, beat.running))

    async def leave(self, worker_id: WorkerId, epoch: Epoch) -> None:
        """A worker stops on purpose, its replicas with it."""
        self.apply(WorkerGone(worker_id, epoch))
        log.info("worker left", worker=worker_id)

    def _hung_up(self, worker_id: WorkerId, epoch: Epoch) -> None:
        if worker_id not in self._upgrading:  # which hangs up on purpose, and its replicas serve on
            with contextlib.suppress(StoreError):  # of which nothing is written anyway
                self._digest(WorkerHungUp(worker_id, epoch))

    def _worker(self, worker_id: WorkerId) -> WorkerRef | None:
        worker = self._snapshot.workers.get(worker_id)
        return None if worker is None else self._survey.ref(worker.address)

    # --- API processes ---

    async def api_processes(self) -> tuple[Address, ...]:
        """API processes that asked for routes within the last minute."""
        self._askers = self._lately(ASKED_LATELY)
        return tuple(self._askers)

    def _lately(self, seconds: float) -> dict[Address, float]:
        now = time.time()
        return {address: seen for address, seen in self._askers.items() if now - seen < seconds}

    async def report(self, process: Address, loads: Mapping[ModelUid, ModelLoad]) -> dict[ModelUid, str]:
        """What an API process has to do for each model; returns the models that it waits for and that cannot be woken, with the reason."""
        return self._autoscaler.report(process, loads, time.time())

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
        """The whole cluster with what the autoscaler says, without what can be worked out of it."""
        return replace(self._snapshot, floor=None, shown=None, notes=self._autoscaler.notes)

    async def news(self, epoch: Epoch, number: int, serial: int, wait: float) -> News:
        """What has changed and what was read since, as soon as there is any, else after ``wait`` seconds."""
        await self._until(lambda: self._watch.is_new(epoch, number, serial), wait)
        return self._watch.news(epoch, number, serial)

    async def history(self, epoch: Epoch, number: int) -> News:
        """The changes after that one, oldest first; all that are kept where it is not known."""
        return self._watch.history(epoch, number)

    async def whole(self) -> Whole:
        """The whole cluster, for those who begin to watch."""
        self._watch.moved_on(self._snapshot, time.time())
        return Whole(self._watch.journal.number, replace(self._snapshot, floor=None, shown=None))

    async def readings(self, worker_id: WorkerId) -> tuple[Reading, ...]:
        """The last fifteen minutes of one worker. Raises WorkerNotFound: unknown, or it does not answer."""
        worker = self._worker(worker_id)
        if worker is None:
            raise WorkerNotFound(f"No worker {worker_id} has joined.", param="worker")
        try:
            return await worker.readings()
        except DeadlineExceeded as error:
            raise WorkerNotFound(error.message, param="worker") from error

    async def usage(self) -> tuple[WorkerUsage, ...]:
        """Live figures of every worker that answers within 3 s."""
        return await self._survey.usage(list(self._snapshot.workers.values()))
