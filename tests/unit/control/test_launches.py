"""Launch, stop, more and fewer replicas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, TIMINGS, Cluster, deployment, slot, starts, stops, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase
from xinfer.cluster.routes_of import route_table
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.effects import StopReplica
from xinfer.control.events import (
    Event,
    LaunchRequested,
    QueuesEmpty,
    ReplicaEnded,
    ReplicaRefused,
    ReplicaRemoved,
    ReplicasAdded,
    StopRequested,
)
from xinfer.control.restore import restore
from xinfer.errors import AlreadyExists, ModelNotFound, NoFit, NoWorker, ReplicaNotFound, Unavailable


def test_a_launch_binds_every_replica_and_asks_its_worker_to_start_it() -> None:
    cluster = Cluster(worker("a"))
    started = cluster.launch(deployment("m", Demand(4 * GIB), Demand(4 * GIB)))
    assert [s.worker_id for s in started] == ["a", "a"]
    assert {s.assignment.replica.slot for s in started} == {slot("a", 0), slot("a", 1)}
    assert len({s.assignment.replica.epoch for s in started}) == 2
    for each in cluster.snapshot.replicas.values():
        assert (each.phase, each.reserved_bytes, each.restarts) == (Phase.SPAWNING, 4 * GIB, 0)


def test_a_pin_is_taken_as_it_is() -> None:
    cluster = Cluster(worker("a"), worker("b"))
    cluster.launch(deployment("m", Demand(4 * GIB, pin=slot("b", 1)), Demand(4 * GIB, pin=slot("a", 0))))
    assert cluster.replica("m-0").slot == slot("b", 1)
    assert cluster.replica("m-1").slot == slot("a", 0)


def test_a_launch_is_all_or_nothing() -> None:
    cluster = Cluster(worker("a"))
    before = cluster.snapshot
    with pytest.raises(NoFit):
        cluster.do(LaunchRequested(deployment("m", Demand(20 * GIB), Demand(20 * GIB), Demand(20 * GIB))))
    assert cluster.snapshot is before
    assert len(cluster.launch(deployment("m", Demand(20 * GIB), Demand(20 * GIB)))) == 2


def test_a_launch_without_workers_says_so() -> None:
    with pytest.raises(NoWorker):
        Cluster().launch()


def test_a_taken_uid_is_refused_and_free_again_once_its_last_replica_is_gone() -> None:
    cluster = Cluster(worker("a")).launched()
    with pytest.raises(AlreadyExists, match=r"running.*another model_uid"):
        cluster.launch()
    assert cluster.do(StopRequested(ModelUid("m"))) == []
    with pytest.raises(AlreadyExists, match="still stopping"):
        cluster.launch()
    (stop,) = cluster.do(QueuesEmpty(ModelUid("m")))
    assert isinstance(stop, StopReplica)
    cluster.do(ReplicaEnded(stop.replica_id, stop.epoch))
    assert cluster.snapshot.deployments == {}
    assert len(cluster.launch()) == 1


def test_a_stop_drains_and_the_deployment_goes_with_its_last_replica() -> None:
    cluster = Cluster(worker("a")).launched(deployment("m", Demand(GIB), Demand(GIB)))
    assert cluster.do(StopRequested(ModelUid("m"))) == []
    assert {r.phase for r in cluster.snapshot.replicas.values()} == {Phase.READY}
    assert route_table(cluster.snapshot).models[ModelUid("m")].closing
    effects = cluster.do(QueuesEmpty(ModelUid("m")))
    assert [e.drain_seconds for e in effects if isinstance(e, StopReplica)] == [TIMINGS.drain] * 2
    assert cluster.do(QueuesEmpty(ModelUid("m"))) == []
    assert {r.phase for r in cluster.snapshot.replicas.values()} == {Phase.DRAINING}
    assert cluster.do(StopRequested(ModelUid("m"))) == []
    for each in list(cluster.snapshot.replicas.values()):
        assert "m" in cluster.snapshot.deployments
        cluster.do(ReplicaEnded(each.id, each.epoch))
    assert cluster.snapshot.deployments == {}
    assert len(cluster.snapshot.replicas) == 0
    assert cluster.tick() == []


def test_a_stop_whose_queues_never_empty_ends_after_the_time_to_drain() -> None:
    cluster = Cluster(worker("a")).launched()
    cluster.do(StopRequested(ModelUid("m")))
    cluster.beat("a", after=TIMINGS.drain - 1)
    assert cluster.tick(0.5) == []
    assert [e.drain_seconds for e in cluster.tick(0.5) if isinstance(e, StopReplica)] == [0.0]


@pytest.mark.parametrize("first", [None, StopRequested(ModelUid("m")), QueuesEmpty(ModelUid("m"))])
def test_a_stop_by_force_ends_at_once_what_serves_and_what_drains(first: Event | None) -> None:
    cluster = Cluster(worker("a")).launched()
    if first is not None:
        cluster.do(StopRequested(ModelUid("m")))
        cluster.do(first)
    effects = cluster.do(StopRequested(ModelUid("m"), drain=False))
    assert [e.drain_seconds for e in effects if isinstance(e, StopReplica)] == [0.0]
    assert cluster.replica().phase is Phase.STOPPING
    assert not route_table(cluster.snapshot).models[ModelUid("m")].replicas


def test_a_replica_that_crashes_while_its_model_is_being_stopped_is_not_started_again() -> None:
    cluster = Cluster(worker("a")).launched(deployment("m", Demand(GIB), Demand(GIB)))
    cluster.do(StopRequested(ModelUid("m")))
    assert cluster.crash("m-0") == []
    assert set(cluster.snapshot.replicas) == {"m-1"}
    assert cluster.crash("m-1", fatal=True) == []
    assert (cluster.snapshot.deployments, cluster.tick()) == ({}, [])


def test_a_stop_during_the_start_aborts_it_and_a_refused_start_ends_it_too() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    (stop,) = cluster.do(StopRequested(ModelUid("m")))
    known = cluster.replica()
    assert stop == StopReplica(WorkerId("a"), known.id, known.epoch, 0.0)
    assert known.phase is Phase.STOPPING
    cluster.do(ReplicaRefused(known.id, known.epoch, "no room"))
    assert cluster.snapshot.deployments == {}


def test_stopping_what_waits_needs_no_worker() -> None:
    cluster = Cluster(worker("a"))
    cluster.launch()
    cluster.crash(fatal=True)
    assert cluster.replica().phase is Phase.FAILED
    assert cluster.do(StopRequested(ModelUid("m"))) == []
    assert (len(cluster.snapshot.replicas), cluster.snapshot.deployments) == (0, {})


def test_unknown_names_are_refused() -> None:
    cluster = Cluster(worker("a")).launched()
    with pytest.raises(ModelNotFound):
        cluster.do(StopRequested(ModelUid("n")))
    with pytest.raises(ModelNotFound):
        cluster.do(ReplicasAdded(ModelUid("n"), (Demand(GIB),)))
    with pytest.raises(ReplicaNotFound, match="m-0"):
        cluster.do(ReplicaRemoved(ModelUid("m"), ReplicaId("m-7")))


def test_added_replicas_get_numbers_that_were_never_used() -> None:
    cluster = Cluster(worker("a")).launched(deployment("m", Demand(GIB), Demand(GIB)))
    effects = cluster.do(ReplicaRemoved(ModelUid("m"), ReplicaId("m-1")))
    assert [key for key, _ in stops(effects)] == ["m-1"]
    assert cluster.snapshot.deployments[ModelUid("m")].ordinals == (0,)
    assert [key for key, _ in starts(cluster.do(ReplicasAdded(ModelUid("m"), (Demand(GIB), Demand(GIB)))))] == ["m-2", "m-3"]
    with pytest.raises(NoFit):
        cluster.do(ReplicasAdded(ModelUid("m"), (Demand(99 * GIB),)))
    assert cluster.snapshot.deployments[ModelUid("m")].ordinals == (0, 2, 3)
    with pytest.raises(ReplicaNotFound):
        cluster.do(ReplicaRemoved(ModelUid("m"), ReplicaId("m-1")))  # it drains already


def test_removing_the_last_replica_stops_the_deployment() -> None:
    cluster = Cluster(worker("a")).launched()
    cluster.do(ReplicaRemoved(ModelUid("m"), ReplicaId("m-0")))
    with pytest.raises(ModelNotFound, match="stopping"):
        cluster.do(ReplicasAdded(ModelUid("m"), (Demand(GIB),)))
    known = cluster.replica()
    cluster.do(ReplicaEnded(known.id, known.epoch))
    assert cluster.snapshot.deployments == {}


def test_while_settling_a_launch_is_put_off() -> None:
    start = restore([], {WorkerId("b")}, Epoch(5), 1_000.0, TIMINGS)
    cluster = Cluster(worker("a"), snapshot=start)
    with pytest.raises(Unavailable) as refused:
        cluster.launch()
    assert refused.value.retry_after == TIMINGS.settle
    cluster.beat("a", after=TIMINGS.settle)
    assert len(cluster.launch()) == 1


def test_nothing_of_the_snapshot_before_is_changed() -> None:
    cluster = Cluster(worker("a"))
    before = cluster.snapshot
    copy = replace(before, workers=dict(before.workers), replicas=dict(before.replicas))
    cluster.launched()
    assert isinstance(before, Snapshot)
    assert (dict(before.workers), dict(before.replicas), dict(before.deployments)) == (copy.workers, {}, {})
