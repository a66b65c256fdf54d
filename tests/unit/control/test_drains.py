"""Emptying a worker: nobody comes, the unpinned leave one by one, the pinned stay."""

from __future__ import annotations

import pytest

from tests.unit.control.clusters import GIB, TIMINGS, Cluster, deployment, slot, starts, stops, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase
from xinfer.control.changes import MOVE_AGAIN
from xinfer.control.drains import left_on
from xinfer.control.effects import Effect
from xinfer.control.events import DrainRequested, ReplicaEnded, ReplicasAdded, WorkerJoined
from xinfer.control.restore import restore
from xinfer.errors import NoFit, WorkerNotFound
from xinfer.placement.plan import NoFitting, plan_launch

A, M = WorkerId("a"), ModelUid("m")


def drain(cluster: Cluster, undo: bool = False) -> list[Effect]:
    return cluster.do(DrainRequested(A, undo))


def on_a(*free: Demand) -> Cluster:
    """Replicas on worker a, then worker b joins."""
    return Cluster(worker("a")).launched(deployment("m", *free))


def test_the_unpinned_move_away_and_the_worker_is_empty() -> None:
    cluster = on_a(Demand(GIB), Demand(GIB))
    cluster.do(WorkerJoined(worker("b")))
    begun = starts(drain(cluster))
    assert cluster.snapshot.behind, "one move in a step, the next one at once"
    begun += starts(cluster.tick(0.0))
    assert [key for key, _ in begun] == ["m-2", "m-3"]
    assert {cluster.replica(key).slot for key, _ in begun} == {slot("b", 0), slot("b", 1)}
    assert left_on(cluster.snapshot, A) == (("m-0", "m-1"), ())
    for successor, old in (("m-2", "m-0"), ("m-3", "m-1")):
        assert [key for key, _ in stops(cluster.ready(successor))] == [old]
        cluster.do(ReplicaEnded(ReplicaId(old), cluster.replica(old).epoch))
    assert left_on(cluster.snapshot, A) == ((), ())
    assert cluster.snapshot.deployments[M].ordinals == (2, 3)
    assert cluster.tick() == []


def test_nothing_new_goes_there_and_the_plan_says_why() -> None:
    cluster = Cluster(worker("a"), worker("b", 1))
    drain(cluster)
    (start,) = cluster.launch()
    assert start.worker_id == "b"
    refused = plan_launch(cluster.snapshot, deployment("n", Demand(GIB, pin=slot("a", 0))))
    assert isinstance(refused, NoFitting)
    assert "being drained" in refused.reason
    with pytest.raises(NoFit):
        cluster.do(ReplicasAdded(M, (Demand(GIB, worker_id="a"),)))


def test_what_people_bound_to_the_worker_stays_and_serves() -> None:
    cluster = on_a(Demand(GIB, pin=slot("a", 0)), Demand(GIB, worker_id="a"))
    cluster.do(WorkerJoined(worker("b")))
    assert drain(cluster) == []
    assert left_on(cluster.snapshot, A) == ((), ("m-0", "m-1"))
    assert {r.phase for r in cluster.snapshot.replicas.values()} == {Phase.READY}


def test_without_room_elsewhere_it_serves_on_says_so_and_leaves_when_there_is() -> None:
    cluster = on_a(Demand(GIB))
    assert drain(cluster) == []
    assert cluster.replica().error.startswith("It has to leave its worker and cannot:")
    assert cluster.replica().phase is Phase.READY
    assert cluster.snapshot.deployments[M].moves == {}
    cluster.do(WorkerJoined(worker("b")))
    assert starts(cluster.tick(0.1)) == [], "not before its next try"
    assert [key for key, _ in starts(cluster.tick(TIMINGS.heartbeat))] == ["m-1"]
    assert cluster.replica().error == ""


def test_one_that_crashes_there_comes_back_elsewhere() -> None:
    cluster = on_a(Demand(GIB, n_devices=1))
    drain(cluster)
    cluster.do(WorkerJoined(worker("b")))
    cluster.crash()
    assert cluster.replica().slot in (slot("b", 0), slot("b", 1))


def test_a_successor_that_fails_is_tried_again_after_a_while() -> None:
    cluster = on_a(Demand(GIB))
    cluster.do(WorkerJoined(worker("b")))
    drain(cluster)
    cluster.crash("m-1", fatal=True, error="The files are bad.")
    begun: dict[str, float] = {}
    failed_at = cluster.now
    while not begun:
        for name in "ab":
            cluster.beat(name)
        begun = {key: cluster.now for key, _ in starts(cluster.tick())}
    assert list(begun) == ["m-2"]
    assert begun["m-2"] - failed_at == pytest.approx(MOVE_AGAIN, abs=2.0)


def test_undone_it_is_used_again() -> None:
    cluster = on_a(Demand(GIB))
    drain(cluster)
    drain(cluster, undo=True)
    assert cluster.snapshot.draining == frozenset()
    assert len(starts(cluster.do(ReplicasAdded(M, (Demand(GIB),))))) == 1


def test_workers_that_are_not_there_or_not_being_drained() -> None:
    cluster = Cluster(worker("a"))
    with pytest.raises(WorkerNotFound):
        cluster.do(DrainRequested(WorkerId("z")))
    with pytest.raises(WorkerNotFound, match="not being drained"):
        drain(cluster, undo=True)
    assert drain(cluster) == drain(cluster) == []


def test_a_new_supervisor_goes_on_draining_after_settling() -> None:
    cluster = on_a(Demand(GIB))
    held = cluster.running("a")
    snapshot = restore(cluster.snapshot.deployments.values(), {A, WorkerId("b")}, Epoch(50), cluster.now, TIMINGS, {A})
    after = Cluster(snapshot=snapshot)
    assert starts(after.do(WorkerJoined(worker("a"), held)) + after.tick(0.1)) == []
    after.do(WorkerJoined(worker("b")))
    assert [key for key, _ in starts(after.tick())] == ["m-1"]
