"""One replica's life: progress, proof, crashes, refusals, late news."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, TIMINGS, Cluster, deployment, slot, starts, stops, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, ReplicaId
from xinfer.cluster.replica import Phase, Progress
from xinfer.control.events import ReplicaEnded, ReplicaProgressed, ReplicaReady, ReplicaRefused, ReplicaRemoved, ReplicasAdded, WorkerBeat

PINNED = deployment("m", Demand(4 * GIB, pin=slot("a", 1)))


def progress(cluster: Cluster, phase: Phase, fraction: float = 0.5, after: float = 0.0) -> None:
    known = cluster.replica()
    cluster.do(ReplicaProgressed(known.id, known.epoch, phase, Progress(phase.value, fraction), 77), after)


def test_progress_moves_forward_only() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    progress(cluster, Phase.FETCHING)
    progress(cluster, Phase.LOADING, after=3.0)
    began = cluster.now
    progress(cluster, Phase.LOADING, 0.9, after=2.0)
    assert cluster.replica().progress == Progress("loading", 0.9, (), began)
    before = cluster.snapshot
    progress(cluster, Phase.FETCHING)
    progress(cluster, Phase.FAILED)
    assert cluster.snapshot is before
    assert cluster.replica().pid == 77


def test_ready_replaces_the_estimate_by_the_measured_figure_and_keeps_it_for_restarts() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    cluster.ready(reserved=3 * GIB)
    known = cluster.replica()
    assert (known.phase, known.reserved_bytes, known.loaded, known.ready_at) == (Phase.READY, 3 * GIB, True, cluster.now)
    assert cluster.snapshot.deployments[ModelUid("m")].demands[0].bytes_per_device == 3 * GIB
    assert known.progress.fraction == 1.0


def test_memory_asked_for_by_name_is_not_given_away() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch(deployment("m", Demand(8 * GIB, fixed_bytes=True)))
    cluster.ready(reserved=3 * GIB)
    assert cluster.replica().reserved_bytes == 8 * GIB
    assert cluster.snapshot.deployments[ModelUid("m")].demands[0].bytes_per_device == 8 * GIB


def test_a_replica_that_sees_another_device_fails_and_its_slot_is_free() -> None:
    cluster = Cluster(worker("a", gpus=1))
    cluster.launch(deployment("m", Demand(20 * GIB)))
    known = cluster.replica()
    report = DeviceReport(DeviceUuid("other"), "x", DeviceKind.GPU, GIB)
    effects = cluster.do(ReplicaReady(known.id, known.epoch, Address("10.0.0.1:9"), 77, (report,)))
    assert stops(effects) == [("m-0", known.epoch)]
    failed = cluster.replica()
    assert (failed.phase, failed.slot, failed.reserved_bytes, failed.error_code) == (Phase.FAILED, None, 0, "device_mismatch")
    assert failed.avoid == (slot("a", 0),)
    assert len(cluster.launch(deployment("n", Demand(20 * GIB)))) == 1


def test_a_fatal_end_is_never_retried() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    assert starts(cluster.crash(fatal=True, error="config.json is not JSON.", error_code="launch_failed", stderr_tail="tail")) == []
    known = cluster.replica()
    assert (known.phase, known.error, known.stderr_tail) == (Phase.FAILED, "config.json is not JSON.", "tail")
    assert starts(cluster.tick(10_000.0)) == []


def test_the_first_crash_restarts_at_once_in_the_same_slot() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(deployment("m", Demand(4 * GIB), Demand(4 * GIB)))
    old = cluster.replica()
    effects = cluster.crash()
    assert starts(effects) == [("m-0", cluster.replica().epoch)]
    assert cluster.replica().epoch > max(old.epoch, cluster.replica("m-1").epoch)
    assert (cluster.replica().slot, cluster.replica().restarts, cluster.replica().phase) == (old.slot, 1, Phase.SPAWNING)


def test_a_restart_finds_room_though_the_last_heartbeat_still_saw_the_dead_process() -> None:
    cluster = Cluster(worker("a", gpus=1), worker("b", gpus=1)).launched(deployment("m", Demand(16 * GIB, pin=slot("a", 0))))
    known = cluster.snapshot.workers["a"]  # type: ignore[index]
    cluster.do(WorkerBeat(known.id, known.epoch, {DeviceUuid("a-gpu0"): 7 * GIB}))
    assert [key for key, _ in starts(cluster.crash())] == ["m-0"]


def test_back_off_doubles_and_five_crashes_in_ten_minutes_are_enough() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch(PINNED)
    waited = []
    for _ in range(4):
        crashed = cluster.now
        cluster.crash()
        while cluster.replica().phase is Phase.BACKOFF:
            cluster.beat("a", after=1.0)
            cluster.tick(0.0)
        waited.append(cluster.now - crashed)
        assert cluster.replica().slot == slot("a", 1)
    assert waited == [0.0, 10.0, 20.0, 40.0]
    cluster.crash()
    assert cluster.replica().phase is Phase.FAILED
    assert "5 crashes" in cluster.replica().error
    assert cluster.replica().restarts == 4


def test_crashes_are_forgotten_after_ten_healthy_minutes_only() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch(PINNED)
    cluster.crash()
    cluster.ready()
    cluster.beat("a", after=599.0)
    assert starts(cluster.crash()) == []  # the second crash: backs off
    cluster.beat("a", after=10.0)
    assert starts(cluster.tick(0.0)) != []
    cluster.ready()
    cluster.beat("a", after=601.0)
    assert starts(cluster.crash()) != []  # counts as the first again
    assert len(cluster.replica().crashes) == 1


def test_an_out_of_memory_start_tries_another_slot_unless_pinned() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    first = cluster.replica().slot
    cluster.crash(error_code="out_of_memory")
    assert {first, cluster.replica().slot} == {slot("a", 0), slot("a", 1)}
    pinned = Cluster(worker("a"))
    pinned.launch(PINNED)
    pinned.crash(error_code="out_of_memory")
    assert pinned.replica().slot == slot("a", 1)


def test_an_unpinned_replica_moves_if_its_slot_no_longer_fits() -> None:
    cluster = Cluster(worker("a", gpus=1), worker("b", gpus=1))
    cluster.launch(deployment("m", Demand(20 * GIB)))
    cluster.crash()
    cluster.crash()  # backs off: the slot is free for others
    cluster.launch(deployment("n", Demand(20 * GIB, pin=slot("a", 0))))
    cluster.beat("a", after=9.0)
    cluster.beat("b", after=1.0)
    cluster.tick(0.0)
    assert cluster.replica().slot == slot("b", 0)


def test_a_refused_start_goes_elsewhere_and_is_no_crash() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    known = cluster.replica()
    cluster.do(ReplicaRefused(known.id, known.epoch, "a-gpu0 is full"))
    waiting = cluster.replica()
    assert (waiting.phase, waiting.slot, waiting.error, waiting.crashes) == (Phase.QUEUED, None, "a-gpu0 is full", ())
    assert starts(cluster.tick()) != []
    assert cluster.replica().slot != known.slot
    assert cluster.replica().restarts == 0


def test_without_room_a_replica_waits_and_says_why_and_starts_when_there_is_some() -> None:
    cluster = Cluster(worker("a", gpus=1), worker("b", gpus=1))
    cluster.launch(deployment("m", Demand(20 * GIB)))
    taken = cluster.replica().slot
    other = slot("b", 0) if taken == slot("a", 0) else slot("a", 0)
    cluster.launch(deployment("n", Demand(20 * GIB, pin=other)))
    cluster.crash(error_code="out_of_memory")
    assert cluster.replica().slot == taken  # avoided, but the only one
    cluster.crash(error_code="out_of_memory")
    cluster.launch(deployment("o", Demand(20 * GIB, pin=taken)))
    cluster.beat("a", after=10.0)
    cluster.beat("b")
    assert starts(cluster.tick(0.0)) == []
    assert cluster.replica().error.startswith("Waits for a slot: ")
    known = cluster.replica("n-0")
    cluster.do(ReplicaEnded(known.id, known.epoch, fatal=True, error="bad files"))
    cluster.beat("a", after=5.0)
    cluster.beat("b")
    assert [key for key, _ in starts(cluster.tick(0.0))] == ["m-0"]


def test_late_and_unknown_news_gives_back_the_same_snapshot() -> None:
    cluster = Cluster(worker("a")).launched()
    old = cluster.replica()
    cluster.crash()
    before = cluster.snapshot
    for event in (
        ReplicaEnded(old.id, old.epoch),
        ReplicaReady(old.id, old.epoch, Address("10.0.0.1:9")),
        ReplicaProgressed(old.id, old.epoch, Phase.LOADING, Progress()),
        ReplicaRefused(old.id, old.epoch),
        ReplicaEnded(ReplicaId("x-0"), Epoch(1)),
        ReplicaReady(ReplicaId("x-0"), Epoch(1), Address("10.0.0.1:9")),
    ):
        assert cluster.do(event) == []
        assert cluster.snapshot is before


def test_a_second_ready_changes_nothing() -> None:
    cluster = Cluster(worker("a")).launched()
    before = cluster.snapshot
    cluster.ready(after=5.0)
    assert cluster.snapshot is before


def test_a_start_that_never_reports_is_given_up_and_tried_again() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    lost = cluster.replica()
    cluster.beat("a", after=TIMINGS.spawn + 1.0)
    effects = cluster.tick(0.0)
    assert stops(effects) == [("m-0", lost.epoch)]
    assert [key for key, _ in starts(effects)] == ["m-0"]


def test_a_stop_without_an_answer_is_asked_for_again() -> None:
    cluster = Cluster(worker("a")).launched(deployment("m", Demand(GIB), Demand(GIB)))
    cluster.do(ReplicaRemoved(ModelUid("m"), ReplicaId("m-1")))
    known = cluster.replica("m-1")
    cluster.beat("a", after=TIMINGS.drain + TIMINGS.stop + 1.0)
    assert stops(cluster.tick(0.0)) == [("m-1", known.epoch)]
    assert stops(cluster.tick(0.0)) == []


@pytest.mark.parametrize("reserved", [0, 2 * GIB])
def test_version_grows_exactly_when_routes_show_something(reserved: int) -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    version = cluster.snapshot.version
    progress(cluster, Phase.LOADING)
    cluster.beat("a", after=1.0)
    cluster.tick()
    assert cluster.snapshot.version == version
    cluster.ready(reserved=reserved)
    assert cluster.snapshot.version == version + 1
    cluster.crash()
    assert cluster.snapshot.version == version + 2
    cluster.do(ReplicasAdded(ModelUid("m"), (replace(Demand(GIB), n_devices=1),)))
    assert cluster.snapshot.version == version + 3
