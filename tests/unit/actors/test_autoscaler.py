"""The shell around the rule: reports and ticks in, events out, and what listings say of them."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.control.clusters import GIB, Cluster, deployment, worker
from xinfer.actors.autoscaler import Autoscaler
from xinfer.cluster.deployment import Demand, Scaling
from xinfer.cluster.ids import Address, ModelUid, WorkerId
from xinfer.cluster.load import ModelLoad
from xinfer.control.autoscale import UNKNOWN_BUDGET, WINDOW_BATCHES
from xinfer.control.demands import compile_growth
from xinfer.control.events import Event, ReplicasAdded, ScaledDown, WorkerJoined
from xinfer.errors import StoreError
from xinfer.settings import ScaleTimings

M = ModelUid("m")
API = Address("10.0.0.9:1")
WINDOW = WINDOW_BATCHES * UNKNOWN_BUDGET
SCALE = ScaleTimings()


class Scaled:
    """A cluster with one model between bounds and the autoscaler that watches it."""

    def __init__(self, gpus: int = 4, least: int = 1, most: int = 4, size: int = 4 * GIB) -> None:
        self.cluster = Cluster(worker("a", gpus))
        self.broken = False
        self.applied: list[Event] = []
        self.tried = 0
        self.cluster.launch(replace(deployment("m", Demand(size)), scaling=Scaling(least, most, 60.0)))
        self.ready()
        self.scaler = Autoscaler(lambda: self.cluster.snapshot, self.apply, self.cluster.timings)

    def apply(self, event: Event) -> None:
        self.tried += 1
        if self.broken:
            raise StoreError("the disk is full")
        self.cluster.do(event)
        self.applied.append(event)

    def ready(self) -> None:
        """Every replica that starts is up."""
        for ordinal in self.cluster.snapshot.deployments[M].ordinals:
            self.cluster.ready(f"m-{ordinal}")

    def load(self, windows: float, seconds: float) -> None:
        """Reports of so much work, and ticks, for so long."""
        for _ in range(int(seconds / SCALE.report)):
            self.cluster.now += SCALE.report
            self.scaler.report(API, {M: ModelLoad(int(windows * WINDOW))}, self.cluster.now)
            self.tick()

    def tick(self) -> None:
        self.scaler.tick({API: self.cluster.now}, self.cluster.now)

    def sleep(self) -> None:
        self.apply(ScaledDown(M, 0, by_load=True))

    def wake(self) -> dict[ModelUid, str]:
        return self.scaler.report(API, {M: ModelLoad(100, waiting=True)}, self.cluster.now)

    @property
    def wanted(self) -> int:
        return self.cluster.snapshot.deployments[M].wanted


def test_load_grows_the_model_and_the_note_says_why() -> None:
    scaled = Scaled()
    scaled.load(4.5, SCALE.surge + 2)
    assert scaled.wanted == 3
    note = scaled.scaler.notes[M]
    assert (note.wanted, note.why) == (3, "1 → 3: 4.5 windows of work, 1.5 a replica, at once")
    scaled.load(4.5, 60)
    assert len(scaled.applied) == 1, "nothing more while those start"


def test_as_many_as_there_is_room_for_and_the_rest_is_tried_again_later() -> None:
    scaled = Scaled(gpus=2, size=20 * GIB)
    scaled.load(4.5, SCALE.surge + 2)
    assert scaled.wanted == 2
    note = scaled.scaler.notes[M]
    assert note.why.startswith("1 → 2 of 3: 4.5 windows")
    assert note.wanted == 3
    assert "20" in note.no_room
    scaled.ready()
    before = scaled.tried
    scaled.load(4.5, 3 * SCALE.up)
    assert scaled.wanted == 2
    assert 2 <= scaled.tried - before <= 3, "once in so many seconds, not at every report"
    scaled.cluster.do(WorkerJoined(worker("b", 1)))
    scaled.load(4.5, 2 * SCALE.up)
    assert scaled.wanted == 3
    assert scaled.scaler.notes[M].no_room == ""


def test_a_request_wakes_a_sleeping_model_and_the_load_before_the_sleep_asks_for_nothing() -> None:
    scaled = Scaled(least=0)
    scaled.load(4.5, 40)
    scaled.sleep()
    assert scaled.wanted == 0
    scaled.load(0.1, 4)
    assert scaled.wanted == 0, "nothing waits"
    assert scaled.wake() == {}
    assert scaled.wanted == 1
    assert scaled.scaler.notes[M].why == "0 → 1: a request came"
    scaled.ready()
    scaled.load(0.5, 14)
    assert scaled.wanted == 1


def test_many_reports_wake_one_replica() -> None:
    scaled = Scaled(least=0)
    scaled.sleep()
    for _ in range(3):
        scaled.wake()
    assert scaled.wanted == 1


def test_who_waits_for_a_model_that_cannot_wake_is_told_why() -> None:
    scaled = Scaled(least=0)
    scaled.sleep()
    scaled.broken = True
    assert scaled.wake() == {M: "the disk is full"}
    assert scaled.scaler.notes[M].no_room == "the disk is full"
    scaled.broken = False
    assert scaled.wake() == {}
    assert scaled.scaler.notes[M].no_room == ""


def test_what_people_ask_for_is_not_taken_back_by_the_load_of_before() -> None:
    scaled = Scaled()
    scaled.load(0.0, SCALE.down + SCALE.mean)
    scaled.apply(ReplicasAdded(M, compile_growth(scaled.cluster.snapshot.deployments[M], 2)))
    scaled.scaler.changed(M, "1 → 3: asked for", scaled.cluster.now)
    scaled.ready()
    scaled.load(0.0, 60)
    assert scaled.wanted == 3
    assert scaled.scaler.notes[M].why == "1 → 3: asked for"
    scaled.load(0.0, SCALE.down + SCALE.mean)
    assert scaled.wanted == 1


def test_nothing_is_judged_before_the_workers_are_back() -> None:
    scaled = Scaled()
    scaled.cluster.snapshot = replace(scaled.cluster.snapshot, expected=frozenset({WorkerId("z")}))
    scaled.load(4.5, 60)
    assert scaled.applied == []
    assert scaled.scaler.notes == {}
