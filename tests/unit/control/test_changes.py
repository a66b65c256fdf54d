"""Scaling down and moving replicas while they serve. Adding and removing one stand in ``test_launches``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, TIMINGS, Cluster, deployment, slot, starts, stops, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase
from xinfer.cluster.routes_of import route_table
from xinfer.control.effects import Effect, StopReplica
from xinfer.control.events import MoveRequested, ReplicaEnded, ReplicaRemoved, ReplicasAdded, ScaledDown, StopRequested, WorkerJoined
from xinfer.control.restore import restore
from xinfer.errors import InvalidRequest, ModelNotFound, NoFit, ReplicaNotFound

M = ModelUid("m")


def scaled(cluster: Cluster, replicas: int) -> list[Effect]:
    return cluster.do(ScaledDown(M, replicas))


def move(cluster: Cluster, key: str = "m-0", **where: object) -> list[Effect]:
    return cluster.do(MoveRequested(M, ReplicaId(key), replace(Demand(GIB), **where)))  # type: ignore[arg-type]


def ordinals(cluster: Cluster) -> tuple[int, ...]:
    return cluster.snapshot.deployments[M].ordinals


def served(cluster: Cluster) -> list[str]:
    return [route.replica_id for route in route_table(cluster.snapshot).models[M].replicas]


def test_scaling_down_drains_the_youngest_that_serve() -> None:
    cluster = Cluster(worker("a", 4)).launched(deployment("m", *[Demand(GIB)] * 4))
    effects = scaled(cluster, 2)
    assert stops(effects) == [("m-2", cluster.replica("m-2").epoch), ("m-3", cluster.replica("m-3").epoch)]
    assert [e.drain_seconds for e in effects if isinstance(e, StopReplica)] == [TIMINGS.drain] * 2
    assert ordinals(cluster) == (0, 1)
    assert served(cluster) == ["m-0", "m-1"]
    assert scaled(cluster, 2) == []
    assert scaled(cluster, 5) == []


def test_what_does_not_serve_goes_first_and_a_pin_last() -> None:
    cluster = Cluster(worker("a", 4)).launched(deployment("m", Demand(GIB), Demand(GIB), Demand(GIB), Demand(GIB, pin=slot("a", 3))))
    cluster.crash("m-0")
    cluster.crash("m-0", after=0.1)  # the first restart is at once, this one waits
    assert cluster.replica("m-0").phase is Phase.BACKOFF
    cluster.do(ReplicasAdded(M, (Demand(GIB),)))
    assert cluster.replica("m-4").phase is Phase.SPAWNING
    scaled(cluster, 4)
    assert ordinals(cluster) == (1, 2, 3, 4)
    scaled(cluster, 3)
    assert ordinals(cluster) == (1, 2, 3)
    scaled(cluster, 1)
    assert ordinals(cluster) == (3,)


def test_nobody_scales_to_nothing_or_what_is_not_there() -> None:
    cluster = Cluster(worker("a")).launched()
    with pytest.raises(InvalidRequest, match="at least 1, not 0"):
        scaled(cluster, 0)
    with pytest.raises(ModelNotFound):
        cluster.do(ScaledDown(ModelUid("n"), 1))
    cluster.do(StopRequested(M))
    with pytest.raises(ModelNotFound, match="stopping"):
        scaled(cluster, 1)


def test_numbers_of_replicas_that_were_let_go_are_not_used_again() -> None:
    cluster = Cluster(worker("a", 4)).launched(deployment("m", *[Demand(GIB)] * 3))
    scaled(cluster, 1)
    cluster.do(ReplicasAdded(M, (Demand(GIB),)))
    assert ordinals(cluster) == (0, 3)


def test_a_move_starts_the_successor_first_and_lets_the_old_one_go_when_it_is_ready() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched()
    old = cluster.replica("m-0")
    (begun,) = starts(move(cluster, pin=slot("b", 1)))
    assert begun[0] == "m-1"
    assert cluster.replica("m-1").slot == slot("b", 1)
    assert cluster.replica("m-0") == old
    assert served(cluster) == ["m-0"]
    assert cluster.snapshot.deployments[M].wanted == 1
    effects = cluster.ready("m-1")
    assert stops(effects) == [("m-0", old.epoch)]
    assert [e.drain_seconds for e in effects if isinstance(e, StopReplica)] == [TIMINGS.drain]
    assert served(cluster) == ["m-1"]
    assert ordinals(cluster) == (1,)
    assert cluster.snapshot.deployments[M].moves == {}
    cluster.do(ReplicaEnded(old.id, old.epoch))
    assert list(cluster.snapshot.replicas) == ["m-1"]


def test_a_move_without_a_place_goes_to_another_slot_or_nowhere() -> None:
    cluster = Cluster(worker("a", 2)).launched()
    first = cluster.replica("m-0").slot
    move(cluster)
    assert cluster.replica("m-1").slot != first
    lonely = Cluster(worker("a", 1)).launched()
    before = lonely.snapshot
    with pytest.raises(NoFit, match="No other slot"):
        move(lonely)
    assert lonely.snapshot is before


def test_moves_that_make_no_sense_change_nothing() -> None:
    cluster = Cluster(worker("a", 3)).launched()
    with pytest.raises(InvalidRequest, match="in that slot already"):
        move(cluster, pin=cluster.replica("m-0").slot)
    with pytest.raises(ReplicaNotFound, match="m-0"):
        move(cluster, "m-7")
    with pytest.raises(NoFit):
        move(cluster, bytes_per_device=99 * GIB)
    assert ordinals(cluster) == (0,)
    move(cluster)
    for key in ("m-0", "m-1"):
        with pytest.raises(InvalidRequest, match="part of a move already; wait for m-1"):
            move(cluster, key)


def test_a_successor_that_fails_is_removed_and_the_old_one_says_why() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched()
    move(cluster, pin=slot("b", 0))
    cluster.crash("m-1", fatal=True, error="The files are bad.")
    assert list(cluster.snapshot.replicas) == ["m-0"]
    assert cluster.replica("m-0").phase is Phase.READY
    assert cluster.replica("m-0").error == "It was not moved: The files are bad."
    assert (ordinals(cluster), cluster.snapshot.deployments[M].moves) == ((0,), {})
    assert served(cluster) == ["m-0"]


def test_a_failed_move_keeps_no_replica_that_is_down_from_its_next_try() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched()
    move(cluster, pin=slot("b", 0))
    for _ in range(2):
        cluster.crash("m-0", error="a bad day")
    down = cluster.replica("m-0")
    cluster.crash("m-1", fatal=True, error="The files are bad.")
    assert down.phase is Phase.BACKOFF
    assert cluster.replica("m-0") == down


def test_a_successor_that_crashes_once_is_tried_again() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched()
    move(cluster, pin=slot("b", 0))
    assert [key for key, _ in starts(cluster.crash("m-1"))] == ["m-1"]
    assert ordinals(cluster) == (0, 1)
    assert stops(cluster.ready("m-1")) == [("m-0", cluster.replica("m-0").epoch)]


def test_either_end_of_a_move_may_be_removed() -> None:
    for removed, left in (("m-0", "m-1"), ("m-1", "m-0")):
        cluster = Cluster(worker("a"), worker("b")).launched()
        move(cluster, pin=slot("b", 0))
        cluster.do(ReplicaRemoved(M, ReplicaId(removed)))
        assert cluster.snapshot.deployments[M].moves == {}
        if left == "m-1":
            assert cluster.ready("m-1") == []
        assert cluster.replica(left).phase is Phase.READY
        assert ordinals(cluster) == (int(left[-1]),)


def test_scaling_down_takes_a_moving_replica_with_its_successor() -> None:
    cluster = Cluster(worker("a", 4)).launched(deployment("m", Demand(GIB), Demand(GIB)))
    move(cluster, "m-1")
    scaled(cluster, 1)
    assert ordinals(cluster) == (0,)
    assert cluster.snapshot.deployments[M].moves == {}


def test_a_stop_ends_a_move_with_everything_else() -> None:
    cluster = Cluster(worker("a", 2)).launched()
    move(cluster)
    cluster.do(StopRequested(M))
    for key, each in list(cluster.snapshot.replicas.items()):
        cluster.do(ReplicaEnded(key, each.epoch))
    assert cluster.snapshot.deployments == {}


def test_a_new_supervisor_finishes_a_move_after_settling() -> None:
    cluster = Cluster(worker("a"), worker("b")).launched()
    move(cluster, pin=slot("b", 0))
    held = [replace(cluster.replica(key), phase=Phase.READY, address=cluster.replica("m-0").address) for key in ("m-0", "m-1")]
    stored = list(cluster.snapshot.deployments.values())
    after = Cluster(snapshot=restore(stored, {WorkerId("a"), WorkerId("b")}, Epoch(50), cluster.now, TIMINGS))
    assert after.do(WorkerJoined(worker("b"), (held[1],))) == []
    assert ordinals(after) == (0, 1)
    effects = after.do(WorkerJoined(worker("a"), (held[0],)))
    effects += after.tick()
    assert stops(effects) == [("m-0", held[0].epoch)]
    assert ordinals(after) == (1,)
