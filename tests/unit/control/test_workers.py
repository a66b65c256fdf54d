"""Workers that join, beat, leave, are lost and come back; supervisors that start again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, TIMINGS, Cluster, deployment, slot, starts, stops, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, WorkerId
from xinfer.cluster.replica import Phase, Progress
from xinfer.cluster.routes_of import route_table
from xinfer.cluster.worker import WorkerState
from xinfer.control.events import (
    LaunchRequested,
    QueuesEmpty,
    ReplicaEnded,
    ReplicaProgressed,
    StopRequested,
    WorkerBeat,
    WorkerGone,
    WorkerHungUp,
    WorkerJoined,
)
from xinfer.control.liveness import FORGET_LOST, must_rejoin
from xinfer.control.restore import restore
from xinfer.errors import NoWorker

TWO = deployment("m", Demand(4 * GIB, pin=slot("a", 0)), Demand(4 * GIB, pin=slot("b", 0)))
A, B, M = WorkerId("a"), WorkerId("b"), ModelUid("m")


def silent(cluster: Cluster, *others: str, seconds: float = 11.0) -> list[object]:
    """Tick second by second while only ``others`` beat; returns all effects."""
    effects: list[object] = []
    for _ in range(int(seconds)):
        cluster.now += 1.0
        for name in others:
            effects += cluster.beat(name)
        effects += cluster.tick(0.0)
    return effects


def test_every_registration_has_an_epoch_of_its_own_and_beats_of_another_are_ignored() -> None:
    cluster = Cluster(worker("a"))
    first = cluster.snapshot.workers[A].epoch
    cluster.do(WorkerJoined(worker("a")))
    assert cluster.snapshot.workers[A].epoch > first
    before = cluster.snapshot
    assert must_rejoin(before, A, first)
    assert must_rejoin(before, B, first)
    cluster.do(WorkerBeat(A, first, {DeviceUuid("a-gpu0"): 1}))
    cluster.do(WorkerGone(A, first))
    assert cluster.snapshot is before


def test_a_worker_whose_link_broke_gets_nothing_new_until_it_is_heard_of() -> None:
    cluster = Cluster(worker("a"))
    known = cluster.snapshot.workers[A]
    cluster.do(WorkerHungUp(A, known.epoch), after=1.0)
    assert cluster.snapshot.workers[A].state is WorkerState.SUSPECT
    cluster.tick(after=1.0)
    assert cluster.snapshot.workers[A].state is WorkerState.SUSPECT
    with pytest.raises(NoWorker):
        cluster.launched(TWO)
    cluster.beat("a")
    assert cluster.snapshot.workers[A].state is WorkerState.ALIVE


def test_a_broken_link_brings_the_loss_no_nearer() -> None:
    cluster = Cluster(worker("a"))
    cluster.do(WorkerHungUp(A, cluster.snapshot.workers[A].epoch))
    silent(cluster, seconds=TIMINGS.lost - 2)
    assert cluster.snapshot.workers[A].state is WorkerState.SUSPECT
    silent(cluster, seconds=3)
    assert cluster.snapshot.workers[A].state is WorkerState.LOST
    before = cluster.snapshot
    cluster.do(WorkerHungUp(A, before.workers[A].epoch))
    assert cluster.snapshot is before


def test_the_broken_link_of_an_earlier_registration_means_nothing() -> None:
    cluster = Cluster(worker("a"))
    first = cluster.snapshot.workers[A].epoch
    cluster.do(WorkerJoined(worker("a")))
    before = cluster.snapshot
    cluster.do(WorkerHungUp(A, first))
    cluster.do(WorkerHungUp(B, first))
    assert cluster.snapshot is before


def test_a_beat_brings_observed_memory_and_changes_no_route() -> None:
    cluster = Cluster(worker("a"))
    known = cluster.snapshot.workers[A]
    cluster.do(WorkerBeat(A, known.epoch, {DeviceUuid("a-gpu0"): 5}), after=1.0)
    assert cluster.snapshot.workers[A].free_bytes == {"a-gpu0": 5}
    assert cluster.snapshot.workers[A].last_seen == cluster.now
    assert not must_rejoin(cluster.snapshot, A, known.epoch)


def test_silence_makes_a_worker_suspect_then_lost() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    silent(cluster, "b", seconds=6)
    assert cluster.snapshot.workers[A].state is WorkerState.SUSPECT
    assert cluster.replica("m-0").phase is Phase.READY
    silent(cluster, "b", seconds=4)
    assert cluster.snapshot.workers[A].state is WorkerState.LOST
    assert cluster.replica("m-0").phase is Phase.QUEUED
    assert cluster.snapshot.behind
    cluster.tick(after=0.0)
    assert "pin" in cluster.replica("m-0").error
    assert [r.replica_id for r in route_table(cluster.snapshot).models[M].replicas] == ["m-1"]
    assert must_rejoin(cluster.snapshot, A, cluster.snapshot.workers[A].epoch)


def test_replicas_of_lost_workers_are_routed_to_while_nobody_else_serves() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    lives = {r.id: (r.epoch, r.address) for r in cluster.snapshot.replicas.values()}
    silent(cluster, "b")
    silent(cluster)
    assert {r.phase for r in cluster.snapshot.replicas.values()} == {Phase.QUEUED}
    routes = route_table(cluster.snapshot).models[M].replicas
    assert {r.replica_id: (r.epoch, r.address) for r in routes} == lives
    known = cluster.replica("m-0")
    version = cluster.snapshot.version
    cluster.do(ReplicaEnded(known.id, known.epoch, code=-9))
    assert [r.replica_id for r in route_table(cluster.snapshot).models[M].replicas] == ["m-1"]
    assert cluster.snapshot.version == version + 1
    cluster.do(WorkerJoined(worker("b"), ()))
    assert route_table(cluster.snapshot).models[M].replicas == ()


def test_a_suspect_worker_that_beats_is_alive_again() -> None:
    cluster = Cluster(worker("a"))
    silent(cluster, seconds=7)
    cluster.beat("a")
    assert cluster.snapshot.workers[A].state is WorkerState.ALIVE


def test_a_supervisor_that_slept_does_not_bury_its_workers() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    cluster.tick()
    cluster.tick(60.0)
    assert {w.state for w in cluster.snapshot.workers.values()} == {WorkerState.ALIVE}
    silent(cluster, "b")
    assert cluster.snapshot.workers[A].state is WorkerState.LOST


def test_an_unpinned_replica_of_a_lost_worker_is_started_elsewhere_and_the_old_life_stopped_on_return() -> None:
    cluster = Cluster(worker("a", gpus=1), worker("b", gpus=1)).launched()
    old = cluster.replica()
    assert old.slot is not None
    home, other = ("a", "b") if old.slot == slot("a", 0) else ("b", "a")
    held = cluster.running(home)
    effects = silent(cluster, other)
    assert [key for key, _ in starts(effects)] == ["m-0"]  # type: ignore[arg-type]
    assert cluster.replica().slot == slot(other, 0)
    assert cluster.replica().restarts == 1
    assert stops(cluster.do(WorkerJoined(worker(home, gpus=1), held))) == [("m-0", old.epoch)]


def test_a_worker_that_comes_back_brings_its_replicas_without_restart() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    before, held = cluster.replica("m-0"), cluster.running("a")
    silent(cluster, "b")
    assert cluster.do(WorkerJoined(worker("a"), held)) == []
    after = cluster.replica("m-0")
    assert (after.phase, after.epoch, after.slot, after.ready_at, after.error) == (
        Phase.READY,
        before.epoch,
        before.slot,
        before.ready_at,
        "",
    )
    assert len(route_table(cluster.snapshot).models[M].replicas) == 2


def test_progress_told_by_a_lost_worker_does_not_bring_its_replica_back() -> None:
    cluster = Cluster(worker("a"), worker("b"))
    cluster.launch(TWO)
    known = cluster.replica("m-0")
    silent(cluster, "b")
    before = cluster.snapshot
    cluster.do(ReplicaProgressed(known.id, known.epoch, Phase.WARMING, Progress("warming_up", 0.5)))
    assert cluster.snapshot is before


def test_news_of_a_death_during_the_absence_rules_adoption_out() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    old, held = cluster.replica("m-0"), cluster.running("a")
    silent(cluster, "b")
    cluster.do(ReplicaEnded(old.id, old.epoch, error="late"))
    effects = cluster.do(WorkerJoined(worker("a"), held))
    assert stops(effects) == [("m-0", old.epoch)]
    assert [key for key, _ in starts(effects)] == ["m-0"]


def test_a_worker_that_comes_back_empty_handed_gets_its_replicas_started_in_the_same_slots() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    effects = cluster.do(WorkerJoined(worker("a")))
    assert [key for key, _ in starts(effects)] == ["m-0"]
    assert (cluster.replica("m-0").slot, cluster.replica("m-0").crashes) == (slot("a", 0), ())
    assert cluster.replica("m-1").phase is Phase.READY


def test_a_join_that_crosses_a_start_does_not_start_twice() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    assert cluster.do(WorkerJoined(worker("a")), after=1.0) == []
    assert cluster.replica().phase is Phase.SPAWNING


def test_ready_news_that_was_lost_comes_with_the_join() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    known = cluster.replica()
    held = replace(known, phase=Phase.READY, address=Address("10.0.0.1:9"), reserved_bytes=3 * GIB, loaded=True, speed=5.0, pid=7)
    cluster.do(WorkerJoined(worker("a"), (held,)), after=1.0)
    assert (cluster.replica().phase, cluster.replica().address, cluster.replica().ready_at) == (Phase.READY, "10.0.0.1:9", cluster.now)


def test_what_nobody_wants_is_charged_and_stopped_on_join() -> None:
    other = Cluster(worker("a", gpus=1)).launched(deployment("x", Demand(20 * GIB)))
    cluster = Cluster()
    effects = cluster.do(WorkerJoined(worker("a", gpus=1), other.running("a")))
    orphan = other.replica("x-0")
    assert stops(effects) == [("x-0", orphan.epoch)]
    assert cluster.snapshot.next_epoch > orphan.epoch
    assert cluster.replica("x-0").phase is Phase.DRAINING
    cluster.do(ReplicaEnded(orphan.id, orphan.epoch))
    assert len(cluster.snapshot.replicas) == 0


def test_a_beat_tells_what_is_missing_and_what_is_too_much() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(TWO)
    assert cluster.beat("a", after=1.0, running=()) == []  # perhaps it was sent before the replica was ready
    effects = cluster.beat("a", after=TIMINGS.suspect, running=(replace(cluster.replica("m-1"), epoch=Epoch(3)),))
    assert stops(effects) == [("m-1", 3)]
    assert [key for key, _ in starts(effects)] == ["m-0"]
    assert cluster.beat("b", running=(cluster.replica("m-1"),)) == []


def test_a_start_given_up_that_still_runs_is_stopped_again_by_a_beat() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    cluster.crash()  # so that the next one backs off
    slow = cluster.replica()
    cluster.beat("a", after=TIMINGS.spawn + 1.0)
    assert stops(cluster.tick(0.0)) == [("m-0", slow.epoch)]
    assert cluster.replica().phase is Phase.BACKOFF
    assert stops(cluster.beat("a", after=1.0, running=(slow,))) == [("m-0", slow.epoch)]


def test_a_stop_whose_answer_was_lost_ends_with_a_beat() -> None:
    cluster = Cluster(worker("a")).launched()
    cluster.do(StopRequested(M))
    cluster.beat("a", after=TIMINGS.suspect + 1.0, running=())
    assert cluster.snapshot.deployments == {}


def test_a_goodbye_moves_what_can_move_and_forgets_the_worker() -> None:
    cluster = Cluster(worker("a", gpus=1), worker("b", gpus=1)).launched()
    home = cluster.replica().slot
    assert home is not None
    gone = cluster.snapshot.workers[home.worker_id]
    effects = cluster.do(WorkerGone(gone.id, gone.epoch))
    assert gone.id not in cluster.snapshot.workers
    assert [key for key, _ in starts(effects)] == ["m-0"]
    assert cluster.replica().slot != home


def test_a_draining_replica_of_a_lost_worker_is_over() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(deployment("m", Demand(GIB, pin=slot("a", 0))))
    cluster.do(StopRequested(M))
    cluster.do(QueuesEmpty(M))
    silent(cluster, "b")
    assert (len(cluster.snapshot.replicas), cluster.snapshot.deployments) == (0, {})


def test_a_stop_with_a_lost_worker_is_over_after_the_time_to_drain() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched(deployment("m", Demand(GIB, pin=slot("a", 0))))
    cluster.do(StopRequested(M))
    silent(cluster, "b", seconds=int(cluster.timings.drain) + 2)
    assert (len(cluster.snapshot.replicas), cluster.snapshot.deployments) == (0, {})


def test_a_worker_lost_for_an_hour_is_forgotten() -> None:
    cluster = Cluster(worker("a"), worker("b"))
    silent(cluster, "b", seconds=12)
    assert A in cluster.snapshot.workers
    cluster.beat("b", after=FORGET_LOST)
    cluster.tick(0.0)
    assert A not in cluster.snapshot.workers


# --- a supervisor that starts again ---


def restarted(before: Cluster, *expected: str) -> Cluster:
    snapshot = restore(before.snapshot.deployments.values(), {WorkerId(e) for e in expected}, Epoch(10_001), before.now, TIMINGS)
    after = Cluster(snapshot=snapshot)
    after.now = before.now
    return after


def test_after_a_restart_running_replicas_are_adopted_and_nothing_is_started_until_all_are_back() -> None:
    before = Cluster(worker("a"), worker("b")).launched(TWO)
    after = restarted(before, "a", "b")
    assert after.tick() == []
    assert after.do(WorkerJoined(worker("a"), before.running("a"))) == []
    assert (after.replica("m-0").phase, after.replica("m-0").epoch) == (Phase.READY, before.replica("m-0").epoch)
    assert after.replica("m-1").phase is Phase.QUEUED
    assert after.beat("a", running=before.running("a")) == []
    assert after.do(WorkerJoined(worker("b"), before.running("b"))) == []
    assert {r.phase for r in after.snapshot.replicas.values()} == {Phase.READY}
    assert after.snapshot.expected == frozenset()
    assert route_table(after.snapshot).models[M].was_ready


def test_after_a_lost_state_file_no_epoch_comes_again_that_a_worker_has_seen() -> None:
    after = Cluster(snapshot=restore((), set(), Epoch(1), 1_000.0, TIMINGS))
    after.do(WorkerJoined(worker("a"), begun=Epoch(40)))
    after.do(LaunchRequested(deployment("m")))
    assert after.replica("m-0").epoch > 40


def test_what_was_not_found_is_started_when_settling_ends() -> None:
    before = Cluster(worker("a"), worker("b")).launched(deployment("m", Demand(4 * GIB), Demand(4 * GIB)))
    after = restarted(before, "a", "b", "c")
    after.do(WorkerJoined(worker("a"), before.running("a")))
    after.tick()
    assert len(after.snapshot.expected) == 2
    missing = [r.id for r in after.snapshot.replicas.values() if r.phase is Phase.QUEUED]
    after.beat("a", after=TIMINGS.settle)
    assert [key for key, _ in starts(after.tick(0.0))] == missing
    assert after.snapshot.expected == frozenset()


def test_an_orphan_found_while_settling_is_stopped_only_afterwards() -> None:
    before = Cluster(worker("a"), worker("b")).launched(TWO)
    held = before.running("a")
    before.snapshot = replace(before.snapshot, deployments={})
    after = restarted(before, "a", "b")
    assert after.do(WorkerJoined(worker("a"), held)) == []
    assert after.beat("a", running=held) == []
    assert stops(after.do(WorkerJoined(worker("b")))) == [("m-0", held[0].epoch)]


def test_epochs_after_a_restart_are_above_all_that_were_seen() -> None:
    before = Cluster(worker("a")).launched()
    held = tuple(replace(r, epoch=Epoch(50_000)) for r in before.running("a"))
    after = restarted(before, "a")
    after.do(WorkerJoined(worker("a"), held))
    assert after.replica().epoch == 50_000
    after.do(LaunchRequested(deployment("n")))
    assert after.replica("n-0").epoch > 50_000


def test_a_pinned_replica_found_on_another_slot_is_replaced() -> None:
    before = Cluster(worker("a")).launched(deployment("m", Demand(GIB, pin=slot("a", 0))))
    moved = tuple(replace(r, slot=slot("a", 1)) for r in before.running("a"))
    after = restarted(before, "a")
    effects = after.do(WorkerJoined(worker("a"), moved))
    assert [key for key, _ in starts(effects)] == ["m-0"]
    assert after.replica().slot == slot("a", 0)
