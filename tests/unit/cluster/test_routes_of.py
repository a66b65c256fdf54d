"""What a snapshot looks like to API processes."""

from __future__ import annotations

from tests.support.nouns import deployment, replica, slot, snapshot, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.routes import ModelRoutes
from xinfer.cluster.routes_of import route_table, slot_text
from xinfer.cluster.worker import Worker, WorkerState


def routes(workers: list[Worker], replicas: list[Replica], count: int | None = None) -> ModelRoutes:
    wanted = deployment("m", [Demand(1)] * (len(replicas) if count is None else count))
    return route_table(snapshot(workers, replicas, [wanted])).models[ModelUid("m")]


def test_slots_read_as_people_write_them() -> None:
    v4, v6 = worker("a"), worker("b", address="[::1]:24002")
    workers = {w.id: w for w in (v4, v6)}
    assert slot_text(slot("a", 2, 0), workers) == "10.0.0.1:24002@2,0"
    assert slot_text(slot("b", 1), workers) == "[::1]:24002@1"
    assert slot_text(slot("gone", 1), workers) == "gone@gone-1"
    assert slot_text(slot("a", 9), workers) == "10.0.0.1:24002@a-9"


def test_a_ready_replica_is_routed() -> None:
    shown = routes([worker("a")], [replica("m", 0, slot("a", 0, 1), speed=5.0, budget_tokens=512, ready_at=9.0)])
    (route,) = shown.replicas
    assert route.uid == "m-0@1"
    assert (route.slot, route.speed, route.budget_tokens) == ("10.0.0.1:24002@0,1", 5.0, 512)
    assert shown.was_ready
    assert (shown.starting, shown.failed) == (0, "")


def test_the_table_carries_epoch_and_version_and_every_deployment() -> None:
    table = route_table(snapshot([], [replica("stray", 0)], [deployment("m", [Demand(1)]), deployment("n")]))
    assert (table.epoch, table.version) == (3, 7)
    assert set(table.models) == {"m", "n"}


def test_replicas_that_are_not_ready_take_no_work() -> None:
    phases = [p for p in Phase if p is not Phase.READY]
    shown = routes([worker("a")], [replica("m", i, slot("a", 0), phase=p) for i, p in enumerate(phases)])
    assert shown.replicas == ()
    assert shown.starting == 7  # queued, installing, spawning, fetching, loading, warming up, back-off
    assert not shown.was_ready


def test_a_replica_that_warms_up_is_told_of() -> None:
    assert routes([worker("a")], [replica("m", 0, slot("a", 0), phase=Phase.WARMING)]).warming
    assert not routes([worker("a")], [replica("m", 0, slot("a", 0), phase=Phase.LOADING)]).warming


def test_lost_and_unknown_workers_are_left_out() -> None:
    lost = worker("b", state=WorkerState.LOST)
    shown = routes([lost], [replica("m", 0, slot("b", 0)), replica("m", 1, slot("gone", 0)), replica("m", 2, slot("b", 0), address=None)])
    assert shown.replicas == ()


def test_a_suspect_worker_serves_only_while_nobody_else_does() -> None:
    a, b = worker("a"), worker("b", state=WorkerState.SUSPECT)
    on_a, on_b = replica("m", 0, slot("a", 0)), replica("m", 1, slot("b", 0))
    assert [r.replica_id for r in routes([a, b], [on_a, on_b]).replicas] == ["m-0"]
    assert [r.replica_id for r in routes([a, b], [on_b]).replicas] == ["m-1"]


def test_replicas_whose_worker_is_lost_serve_only_while_nobody_else_does() -> None:
    lost = replica("m", 0, None, phase=Phase.QUEUED)
    a, b = worker("a"), worker("b", state=WorkerState.SUSPECT)
    assert [r.uid for r in routes([a], [lost]).replicas] == ["m-0@1"]
    assert [r.replica_id for r in routes([b], [lost, replica("m", 1, slot("b", 0))]).replicas] == ["m-1"]
    assert routes([a], [replica("m", 0, None, phase=Phase.QUEUED, address=None)]).replicas == ()


def test_failed_only_once_all_have_given_up() -> None:
    gone = replica("m", 0, phase=Phase.FAILED, error="out of luck")
    assert routes([], [gone]).failed == "out of luck"
    assert routes([], [gone, replica("m", 1, phase=Phase.BACKOFF, error="x")]).failed == ""
    assert routes([], [gone, replica("m", 1, phase=Phase.STOPPED)]).failed == "out of luck"
    assert routes([], [replica("m", 0, phase=Phase.FAILED)]).failed == "every replica has failed"
    assert routes([], [], count=0).failed == ""


def test_replicas_not_born_yet_are_starting() -> None:
    shown = routes([], [replica("m", 0, phase=Phase.FAILED, error="x")], count=3)
    assert (shown.starting, shown.failed) == (2, "")
