"""A whole cluster in one thread: the real ``step`` against fake workers, a lossy network and a clock that a heap drives."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from array import array
from collections import deque
from collections.abc import Callable

from tests.simulation.fake_worker import GIB, FakeWorker, Process
from tests.simulation.invariants import Invariants
from tests.simulation.people import SPEC, People
from tests.simulation.weather import CALM, STORM, Shape, small
from xinfer.actors.autoscaler import Autoscaler
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.ids import Address, Epoch, ModelUid, WorkerId
from xinfer.cluster.load import ModelLoad
from xinfer.cluster.replica import Phase
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.effects import Effect, StopReplica
from xinfer.control.events import (
    Event,
    ReplicaEnded,
    ReplicaRefused,
    Tick,
    WorkerBeat,
    WorkerGone,
    WorkerHungUp,
    WorkerJoined,
)
from xinfer.control.liveness import must_rejoin
from xinfer.control.restore import restore
from xinfer.control.step import step
from xinfer.settings import ScaleTimings, Timings

TIMINGS = Timings(spawn=15.0, load=30.0, drain=4.0, stop=3.0, scale=ScaleTimings(1.0, 4.0, 2.0, 8.0, 2.0))
API = Address("10.0.0.9:1")
EPOCH_BLOCK = 1_000


class FakeCluster:
    """Carries out what ``step`` asks for; every step is checked.

    Attributes:
        spent: seconds of CPU that steps took, by the kind of their event.
    """

    def __init__(self, seed: int, shape: Shape | None = None) -> None:
        self.dice = random.Random(seed)
        self.now = 1_000.0
        self.weather = STORM
        self.shape = shape or small(self.dice)
        self.workers = {w.id: w for w in (self._make_worker(n) for n in range(self.shape.workers))}
        self.spent: dict[str, array[float]] = {}
        self.life = 0
        self.supervisor_up = True
        self.stored: tuple[tuple[Deployment, ...], frozenset[WorkerId], frozenset[WorkerId]] = ((), frozenset(), frozenset())
        self.reserved_epoch = 0
        self.snapshot = Snapshot()
        self.check = Invariants()
        self.steps = 0
        self.log: deque[str] = deque(maxlen=60)
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = itertools.count()
        self.people = People(self)
        if self.shape.replicas:
            self._fill()
        self.begin_supervisor()
        self.load: dict[ModelUid, int] = {}
        self._every(1.0, self._tick)
        self._every(TIMINGS.scale.report, self._report)
        for worker in self.workers.values():
            self._every(2.0, lambda worker=worker: self._beat(worker))  # type: ignore[misc]
            self._every(0.5, lambda worker=worker: self._talk(worker))  # type: ignore[misc]

    def _make_worker(self, number: int) -> FakeWorker:
        gpus = self.shape.gpus or self.dice.randint(1, 3)
        return FakeWorker.make(f"w{number}-", gpus, self.shape.gib or self.dice.choice([16, 24]))

    def _fill(self) -> None:
        """Replicas that ran before this history began: what is on disk, and processes on the devices in turn."""
        shape, devices = self.shape, [(w, d) for d in range(self.shape.gpus) for w in self.workers.values()]
        deployments = []
        for first in range(0, shape.replicas, shape.each):
            uid = ModelUid(f"run{first // shape.each}")
            ordinals = tuple(range(min(shape.each, shape.replicas - first)))
            deployments.append(Deployment(uid, SPEC, (Demand(2 * GIB),) * len(ordinals), ordinals, self.now, next_ordinal=len(ordinals)))
            for ordinal in ordinals:
                worker, device = devices[(first + ordinal) % len(devices)]
                worker.hold(uid, ordinal, Epoch(first + ordinal + 1), device, 2 * GIB)
        self.reserved_epoch = shape.replicas
        self.stored = (tuple(deployments), frozenset(self.workers), frozenset())

    # --- time ---

    def at(self, delay: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._heap, (self.now + delay, next(self._sequence), action))

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self.at(seconds, again)

        self.at(self.dice.uniform(0, seconds), again)

    def run(self, seconds: float) -> None:
        """Let everything happen that is due within ``seconds``."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    def _delay(self) -> float:
        return self.dice.expovariate(1 / 0.05) if self.dice.random() < 0.7 else self.dice.uniform(0, self.weather.late)

    # --- the supervisor ---

    def begin_supervisor(self) -> None:
        """A new life, from what is on disk."""
        self.life += 1
        epoch = Epoch(self.reserved_epoch + 1)
        self.reserved_epoch += EPOCH_BLOCK
        deployments, expected, draining = self.stored
        self.snapshot = restore(deployments, expected, epoch, self.now, TIMINGS, draining)
        self.check.begin(self.snapshot)
        self.autoscaler = Autoscaler(lambda: self.snapshot, self._by_load, TIMINGS)
        self.supervisor_up = True
        self.log.append(f"{self.now:.2f} supervisor life {self.life}, expects {sorted(expected)}")

    def kill_supervisor(self) -> None:
        self.supervisor_up = False
        self.at(self.dice.uniform(0.1, 20.0), self.begin_supervisor)

    def do(self, event: Event) -> None:
        """One step, checked; its effects go out on the network."""
        before = self.snapshot
        self.steps += 1
        if not isinstance(event, WorkerBeat | Tick):
            self.log.append(f"{self.now:.2f} {event}")
        self.check.told(event)
        began = time.thread_time()
        after, effects = step(before, event, self.now, TIMINGS)
        self.spent.setdefault(type(event).__name__, array("d")).append(time.thread_time() - began)
        self.check.stepped(before, event, self.now, after, effects, self.log)
        if self.steps % self.shape.check_whole == 0:
            self.check.whole(after)
        self.snapshot = after
        if after.next_epoch > self.reserved_epoch - EPOCH_BLOCK // 2:
            self.reserved_epoch = after.next_epoch + EPOCH_BLOCK
        self._write(before, after)
        for effect in effects:
            self.log.append(f"{self.now:.2f}   -> {effect}"[:300])
            self._send_effect(effect)

    def _write(self, before: Snapshot, after: Snapshot) -> None:
        """What the store keeps."""
        deployments, workers, _draining = self.stored
        if after.deployments is not before.deployments:
            deployments = tuple(d for d in after.deployments.values() if not d.stopping)
        if after.workers.keys() != before.workers.keys() or after.expected != before.expected:
            workers = frozenset(after.workers) | after.expected
        self.stored = (deployments, workers, after.draining)

    def _by_load(self, event: Event) -> None:
        before = self.snapshot
        self.do(event)
        self.check.scaled(before, event, self.snapshot)

    def _tick(self) -> None:
        """A tick, and more of them at once while there is something left to do: as the supervisor does it."""
        while self.supervisor_up:
            self.do(Tick(self.now))
            self.autoscaler.tick({API: self.now}, self.now)
            if not self.snapshot.behind:
                return

    def _report(self) -> None:
        """One API process says what it has to do; work waits for a model that sleeps."""
        if not self.supervisor_up:
            return
        said = {}
        for uid, deployment in self.snapshot.deployments.items():
            tokens = self.load.get(uid, 0)
            if deployment.closing and self.dice.random() < 0.5:
                tokens = self.load[uid] = 0
            said[uid] = ModelLoad(tokens, tokens > 0, tokens > 0 and deployment.asleep is not None, deployment.closing > 0)
        self.autoscaler.report(API, said, self.now)

    # --- the network ---

    def _send_effect(self, effect: Effect) -> None:
        life, process = self.life, self.workers[effect.worker_id].process
        if self.dice.random() >= self.weather.lose_effect:
            self.at(self._delay(), lambda: self._arrive(effect, life, process))
        if self.dice.random() < self.weather.repeat:
            self.at(self._delay(), lambda: self._arrive(effect, -1, process))

    def _arrive(self, effect: Effect, life: int, process: int) -> None:
        worker = self.workers[effect.worker_id]
        if worker.process != process:
            return
        if isinstance(effect, StopReplica):
            if worker.up and worker.linked:
                self._stop(worker, effect)
            return
        replica = effect.assignment.replica
        refusal = "connection refused" if not worker.up else worker.refusal(replica)
        if not worker.linked or worker.runs(replica.id, replica.epoch):
            return
        if refusal:
            if life == self.life and self.supervisor_up:
                self.do(ReplicaRefused(replica.id, replica.epoch, refusal))
            return
        (fate,) = self.dice.choices([f for f, _ in self.weather.fates], [w for _, w in self.weather.fates])
        # One that chooses may choose otherwise the next time: it measures.
        chosen = self.dice.choice(effect.assignment.dtype_open) if effect.assignment.dtype_open else effect.assignment.spec.dtype
        worker.begin(Process(replica, fate, chosen))
        life_of = (replica.id, replica.epoch)
        twins = [w.id for w in self.workers.values() if w is not worker and w.runs(*life_of)]
        self.check.lives(replica, twins)
        delay = 0.0
        for phase in (Phase.FETCHING, Phase.LOADING, Phase.WARMING, Phase.READY):
            delay += self.dice.uniform(0.1, 2.0)
            if fate == "hang" and phase is Phase.FETCHING:
                continue
            self.at(delay, lambda phase=phase: worker.advance(replica.id, replica.epoch, phase, self.now))  # type: ignore[misc]

    def _stop(self, worker: FakeWorker, effect: StopReplica) -> None:
        held = worker.running.get(effect.replica_id)
        if held is None:
            worker.outbox.append(ReplicaEnded(effect.replica_id, effect.epoch))
        elif held.replica.epoch == effect.epoch and held.stop_at is None:
            held.stop_at = self.now + self.dice.uniform(0, effect.drain_seconds) + 0.05
            self.at(held.stop_at - self.now, lambda: worker.end(effect.replica_id, effect.epoch, "stopped"))

    def _talk(self, worker: FakeWorker) -> None:
        """Join if need be, else send the news, each on a way of its own."""
        if not (worker.up and worker.linked and self.supervisor_up):
            return
        life, process = self.life, worker.process
        if worker.registration is None:
            if not worker.joining:
                worker.joining = True
                running = tuple(p.replica for p in worker.running.values())
                hello = WorkerJoined(worker.hello(), running, max(worker.begun, default=Epoch(0)))
                self.at(self._delay(), lambda: self._join(worker, hello, life, process))
            return
        news, worker.outbox = worker.outbox, []
        for event in news:
            self.at(self._delay(), lambda event=event: self._deliver(worker, event, life, process, True))  # type: ignore[misc]
            if self.dice.random() < self.weather.repeat:
                self.at(self._delay(), lambda event=event: self._deliver(worker, event, life, process, False))  # type: ignore[misc]

    def _reaches(self, worker: FakeWorker, life: int, process: int) -> bool:
        return worker.up and worker.linked and self.supervisor_up and (life, process) == (self.life, worker.process)

    def _join(self, worker: FakeWorker, hello: WorkerJoined, life: int, process: int) -> None:
        if worker.process == process:
            worker.joining = False
        if not self._reaches(worker, life, process):
            return
        for _ in range(1 + (self.dice.random() < self.weather.repeat)):
            self.do(hello)
        worker.registration = self.snapshot.workers[worker.id].epoch

    def _deliver(self, worker: FakeWorker, event: Event, life: int, process: int, again: bool) -> None:
        if self._reaches(worker, life, process):
            self.do(event)
        elif again and worker.process == process:
            worker.outbox.append(event)

    def _beat(self, worker: FakeWorker) -> None:
        if worker.registration is None or not (worker.up and worker.linked and self.supervisor_up):
            return
        running = tuple((p.replica.id, p.replica.epoch) for p in worker.running.values())
        beat, life = WorkerBeat(worker.id, worker.registration, worker.free(), running), self.life
        process = worker.process

        def arrive() -> None:
            if self._reaches(worker, life, process):
                if must_rejoin(self.snapshot, worker.id, beat.epoch):
                    if worker.registration == beat.epoch:
                        worker.registration = None
                else:
                    self.do(beat)

        self.at(self._delay(), arrive)

    # --- faults ---

    def kill_replica(self) -> None:
        busy = [w for w in self.workers.values() if w.running]
        if busy:
            worker = self.dice.choice(busy)
            replica = self.dice.choice(list(worker.running.values())).replica
            self.log.append(f"{self.now:.2f} kill {replica.id}@{replica.epoch}")
            worker.end(replica.id, replica.epoch, "killed")

    def kill_worker(self) -> None:
        worker = self.dice.choice(list(self.workers.values()))
        if worker.up:
            self.log.append(f"{self.now:.2f} worker {worker.id} dies")
            goodbye = WorkerGone(worker.id, worker.registration) if worker.registration is not None else None
            polite = goodbye is not None and worker.linked and self.supervisor_up and self.dice.random() < 0.3
            worker.die()
            if polite and goodbye is not None:
                self.do(goodbye)
            elif goodbye is not None:
                self._hang_up(goodbye)
            self.at(self.dice.uniform(0.5, 25.0), lambda: setattr(worker, "up", True))

    def cut_link(self) -> None:
        worker = self.dice.choice(list(self.workers.values()))
        self.log.append(f"{self.now:.2f} link of {worker.id} is cut")
        worker.linked = False
        if worker.registration is not None:
            self._hang_up(WorkerGone(worker.id, worker.registration))
        self.at(self.dice.uniform(0.5, 25.0), lambda: setattr(worker, "linked", True))

    def _hang_up(self, worker: WorkerGone) -> None:
        """The supervisor may notice at once that a link broke, later, or never."""

        def notice() -> None:
            if self.supervisor_up:
                self.do(WorkerHungUp(worker.worker_id, worker.epoch))

        if self.dice.random() < 0.6:
            self.at(self._delay() * self.dice.choice([1, 1, 40]), notice)

    def stray_news(self) -> None:
        """Something from long ago, or of nobody."""
        known = self.dice.choice([None, *self.snapshot.replicas.values()])
        if self.supervisor_up and known is not None:
            self.do(ReplicaEnded(known.id, Epoch(known.epoch - self.dice.randint(1, 5)), -9, "long ago"))

    def hurt(self) -> None:
        """One random thing happens."""
        actions: list[tuple[Callable[[], None], float]] = [
            (self.kill_replica, 6),
            (self.kill_worker, 2),
            (self.cut_link, 2),
            (self.stray_news, 2),
            (self.kill_supervisor if self.supervisor_up else self.people.launch, 1),
            *self.people.wishes(),
        ]
        self.dice.choices([act for act, _ in actions], [weight for _, weight in actions])[0]()

    def calm(self) -> None:
        """Faults stop: everything is repaired, nothing is lost any more."""
        self.weather = CALM
        for worker in self.workers.values():
            self.at(0.0, lambda worker=worker: setattr(worker, "up", True))  # type: ignore[misc]
            worker.linked = True
            for process in worker.running.values():
                if process.fate != "hang":
                    process.fate = "ready"
