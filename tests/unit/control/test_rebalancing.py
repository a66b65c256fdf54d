"""A rebalance begins the planned moves like any others: a successor in the named slot, no pin left behind, all or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, Cluster, deployment, slot, starts, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ModelUid, WorkerId
from xinfer.cluster.replica import Phase
from xinfer.control.events import MoveRequested, RebalanceRequested, StopRequested, WorkerGone, WorkerJoined
from xinfer.control.rebalancing import rooms_of, successors
from xinfer.errors import InvalidRequest, PlanOvertaken, Unavailable
from xinfer.placement.rebalance import plan_rebalance
from xinfer.placement.wants import Room
from xinfer.schemas.cluster import RebalanceRequest

M = ModelUid("m")


def planned(cluster: Cluster, max_moves: int = 8, *rooms: Room) -> RebalanceRequested:
    return RebalanceRequested(plan_rebalance(cluster.snapshot, max_moves, rooms).moves)


def fragmented() -> Cluster:
    """A little on one device, more on the other."""
    return Cluster(worker("a", 2)).launched(deployment("n", Demand(8 * GIB))).launched(deployment("m", Demand(GIB)))


def test_the_successor_starts_in_the_planned_slot_and_is_not_pinned_there() -> None:
    cluster = fragmented()
    (move,) = plan_rebalance(cluster.snapshot).moves
    effects = cluster.do(planned(cluster))
    assert starts(effects) == [("m-1", cluster.replica("m-1").epoch)]
    assert cluster.replica("m-1").slot == move.target == slot("a", 0)
    wanted = cluster.snapshot.deployments[M]
    assert (wanted.moves, wanted.demands[-1]) == ({0: 1}, Demand(GIB))
    assert successors(cluster.snapshot) == {"m-0": "m-1"}
    assert cluster.replica("m-0").phase is Phase.READY
    cluster.ready("m-1")
    assert cluster.replica("m-0").phase is Phase.DRAINING
    cluster.crash("m-0", code=0, error="")
    before = cluster.snapshot
    assert cluster.do(planned(cluster)) == []
    assert cluster.snapshot is before, "nothing is left to move"


def test_while_moves_are_under_way_they_are_not_begun_again() -> None:
    cluster = fragmented()
    cluster.do(planned(cluster))
    before = cluster.snapshot
    assert cluster.do(planned(cluster)) == []
    assert cluster.snapshot is before


def test_a_successor_that_fails_leaves_the_old_replica_where_it_was() -> None:
    cluster = fragmented()
    cluster.do(planned(cluster))
    cluster.crash("m-1", error="No such file.", fatal=True)
    assert cluster.snapshot.deployments[M].moves == {}
    assert cluster.replica("m-0").error == "It was not moved: No such file."
    assert cluster.replica("m-0").phase is Phase.READY


def test_what_waited_for_room_starts_once_what_stood_in_the_way_has_gone() -> None:
    cluster = Cluster(worker("a", 2))
    cluster.launched(deployment("x", Demand(8 * GIB))).launched(deployment("y", Demand(6 * GIB)))
    cluster.do(WorkerJoined(worker("b", 1)))
    cluster.launched(deployment("big", Demand(20 * GIB)))
    assert cluster.replica("big-0").slot == slot("b", 0)
    gone = cluster.snapshot.workers[WorkerId("b")]
    cluster.tick(after=1.0)
    cluster.do(WorkerGone(gone.id, gone.epoch))
    assert (cluster.replica("big-0").phase, cluster.replica("big-0").slot) == (Phase.QUEUED, None)
    (move,) = plan_rebalance(cluster.snapshot).moves
    assert (move.replica_id, move.target) == ("y-0", slot("a", 0))
    cluster.do(planned(cluster))
    cluster.ready("y-1")
    assert cluster.replica("big-0").phase is Phase.QUEUED, "y-0 drains"
    cluster.crash("y-0", code=0, error="")
    cluster.beat("a")
    cluster.tick(after=10.0)
    assert cluster.replica("big-0").slot == slot("a", 1)


def test_only_as_many_as_asked_for_and_pinned_ones_never() -> None:
    cluster = Cluster(worker("a", 3)).launched(deployment("n", Demand(9 * GIB, pin=slot("a", 0))))
    cluster.launched(deployment("m", Demand(GIB))).launched(deployment("o", Demand(2 * GIB)))
    cluster.do(planned(cluster, 1))
    assert {uid: d.moves for uid, d in cluster.snapshot.deployments.items() if d.moves} == {"m": {0: 1}}
    cluster.do(planned(cluster))
    assert {uid: d.moves for uid, d in cluster.snapshot.deployments.items() if d.moves} == {"m": {0: 1}, "o": {0: 1}}


def test_room_for_a_launch_that_is_to_come() -> None:
    cluster = Cluster(worker("a", 2))
    cluster.launched(deployment("x", Demand(8 * GIB))).launched(deployment("y", Demand(6 * GIB)))
    cluster.do(planned(cluster, 8, Room(20 * GIB)))
    assert cluster.replica("y-1").slot == slot("a", 0)
    with pytest.raises(InvalidRequest):
        cluster.do(MoveRequested(ModelUid("y"), cluster.replica("y-0").id, Demand(GIB)))


def test_while_settling_nothing_moves() -> None:
    cluster = fragmented()
    event = planned(cluster)
    cluster.snapshot = replace(cluster.snapshot, expected=frozenset({WorkerId("c")}), settle_until=cluster.now + 5)
    with pytest.raises(Unavailable) as caught:
        cluster.do(event)
    assert not isinstance(caught.value, PlanOvertaken)


def test_a_plan_that_the_cluster_overtook_begins_nothing() -> None:
    """Of the two moves the first could still begin."""

    def stopped(cluster: Cluster) -> None:
        cluster.do(StopRequested(ModelUid("o")))

    def moved(cluster: Cluster) -> None:
        cluster.do(MoveRequested(ModelUid("o"), cluster.replica("o-0").id, Demand(2 * GIB)))

    def crashed(cluster: Cluster) -> None:
        cluster.crash("o-0")

    def filled(cluster: Cluster) -> None:
        cluster.launched(deployment("p", Demand(13 * GIB, pin=slot("a", 0))))

    for change in (stopped, moved, crashed, filled):
        cluster = Cluster(worker("a", 3)).launched(deployment("n", Demand(9 * GIB, pin=slot("a", 0))))
        cluster.launched(deployment("m", Demand(GIB))).launched(deployment("o", Demand(2 * GIB)))
        event = planned(cluster)
        assert [move.replica_id for move in event.moves] == ["m-0", "o-0"]
        change(cluster)
        before = cluster.snapshot
        with pytest.raises(PlanOvertaken) as caught:
            cluster.do(event)
        assert caught.value.retryable
        assert cluster.snapshot is before, change


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_moves": 0}, "max_moves"),
        ({"max_moves": 5000}, "max_moves"),
        ({"n_gpu": 2}, "memory"),
        ({"replica": 2}, "memory"),
        ({"model_engine": "sentence_transformers"}, "memory"),
        ({"memory": "much"}, "memory"),
        ({"memory": "1GiB", "n_gpu": 0}, "n_gpu"),
        ({"memory": "1GiB", "replica": 0}, "replica"),
        ({"memory": "1GiB", "model_engine": "abacus"}, "model_engine"),
    ],
)
def test_a_wrong_request_is_refused_by_field(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest, match=param) as caught:
        rooms_of(RebalanceRequest(**fields), fragmented().snapshot)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_the_room_that_is_asked_for() -> None:
    state = fragmented().snapshot
    assert rooms_of(RebalanceRequest(), state) == ()
    wanted = RebalanceRequest(memory="20GiB", n_gpu=2, replica=3, model_engine="sentence_transformers")
    assert rooms_of(wanted, state) == (Room(20 * GIB, 2, "sentence_transformers"),) * 3
