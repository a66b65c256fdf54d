"""Bounds that people ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.control.clusters import GIB, Cluster, deployment, slot, stops, worker
from xinfer.cluster.deployment import Demand, Scaling
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.routes_of import route_table
from xinfer.control.bounds import compile_scaling, counted, launch_bounds
from xinfer.control.demands import compile_growth
from xinfer.control.events import ReplicasAdded, ScaledDown, StopRequested
from xinfer.control.restore import restore
from xinfer.errors import InvalidRequest
from xinfer.schemas.launch import LaunchRequest
from xinfer.schemas.models import ScaleRequest

M = ModelUid("m")


def request(**fields: Any) -> LaunchRequest:
    return LaunchRequest(model_name="m", model_type="rerank", **fields)


@pytest.mark.parametrize(
    ("fields", "replicas", "pinned", "bounds"),
    [
        ({}, 2, 0, None),
        ({"max_replica": 4}, 2, 0, Scaling(1, 4, 600.0)),
        ({"min_replica": 0}, 1, 0, Scaling(0, 1, 600.0)),
        ({"min_replica": 0, "idle_seconds": 5}, 1, 0, Scaling(0, 1, 5.0)),
        ({"max_replica": 4}, 2, 2, Scaling(2, 4, 600.0)),
        ({"min_replica": 2, "max_replica": 2}, 2, 0, None),
    ],
)
def test_bounds_of_a_launch(fields: dict[str, Any], replicas: int, pinned: int, bounds: Scaling | None) -> None:
    assert launch_bounds(request(**fields), replicas, pinned, 600.0) == bounds


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_replica": 0}, "max_replica"),
        ({"min_replica": 3, "max_replica": 2}, "min_replica"),
        ({"min_replica": -1}, "min_replica"),
        ({"min_replica": 0, "max_replica": 1}, "replica"),
        ({"idle_seconds": 5}, "idle_seconds"),
        ({"min_replica": 0, "max_replica": 2, "idle_seconds": 0}, "idle_seconds"),
        ({"min_replica": 1, "max_replica": 4, "idle_seconds": 60}, "idle_seconds"),
    ],
)
def test_bounds_that_are_refused_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        launch_bounds(request(**fields), 2, 0, 600.0)
    assert refused.value.param == param


def test_pinned_replicas_are_a_lower_bound() -> None:
    with pytest.raises(InvalidRequest, match="pinned"):
        launch_bounds(request(min_replica=0, max_replica=2), 1, 1, 600.0)


def test_a_launch_that_names_a_minimum_alone_begins_with_it() -> None:
    assert counted(request(min_replica=3)).replica == 3
    assert counted(request(min_replica=0)).replica is None
    assert counted(request(min_replica=3, replica=4)).replica == 4


def test_scaling_later() -> None:
    plain = deployment("m", Demand(GIB), Demand(GIB))
    bounded = replace(plain, scaling=Scaling(1, 4))
    assert compile_scaling(plain, ScaleRequest(replica=3), 600.0).replicas == 3
    assert compile_scaling(plain, ScaleRequest(max_replica=5), 600.0).scaling == Scaling(1, 5)
    raised = compile_scaling(bounded, ScaleRequest(min_replica=3), 600.0)
    assert (raised.scaling, raised.replicas, len(raised.demands)) == (Scaling(3, 4), 3, 1)
    assert compile_scaling(bounded, ScaleRequest(min_replica=2, max_replica=2), 600.0).scaling is None
    for wrong in (ScaleRequest(), ScaleRequest(replica=5), ScaleRequest(replica=0)):
        with pytest.raises(InvalidRequest):
            compile_scaling(bounded, wrong, 600.0)


def asleep() -> Cluster:
    """m slept after it served."""
    cluster = Cluster(worker("a")).launched(replace(deployment("m", Demand(4 * GIB)), scaling=Scaling(0, 2)))
    assert [key for key, _ in stops(cluster.do(ScaledDown(M, 0)))] == ["m-0"]
    cluster.crash("m-0")
    return cluster


def test_a_model_sleeps_and_wakes_with_what_its_replicas_needed() -> None:
    cluster = asleep()
    sleeping = cluster.snapshot.deployments[M]
    assert (sleeping.asleep, sleeping.ordinals, sleeping.stopping) == (Demand(4 * GIB), (), False)
    assert route_table(cluster.snapshot).models[M].asleep
    cluster.do(ReplicasAdded(M, compile_growth(sleeping, 1)))
    awake, routes = cluster.snapshot.deployments[M], route_table(cluster.snapshot).models[M]
    assert (awake.asleep, awake.ordinals, awake.demands) == (None, (1,), (Demand(4 * GIB),))
    assert (routes.asleep, routes.waking) == (False, True)
    cluster.ready("m-1")
    assert not route_table(cluster.snapshot).models[M].waking


def test_a_sleeping_model_sleeps_on_after_a_restart_and_can_be_stopped() -> None:
    cluster = asleep()
    before = tuple(cluster.snapshot.deployments.values())
    cluster.snapshot = restore(before, [], cluster.snapshot.epoch, cluster.now, cluster.timings)
    assert cluster.tick() == []
    assert route_table(cluster.snapshot).models[M].asleep
    cluster.do(StopRequested(M))
    assert cluster.snapshot.deployments == {}


def test_load_lets_no_pinned_replica_go_though_another_is_worth_more() -> None:
    mixed = replace(deployment("m", Demand(GIB, pin=slot("a", 0)), Demand(GIB)), scaling=Scaling(1, 2))
    cluster = Cluster(worker("a")).launched(mixed)
    cluster.crash("m-0")
    assert [key for key, _ in stops(cluster.do(ScaledDown(M, 1, by_load=True)))] == ["m-1"]
    moving = replace(mixed, ordinals=(0, 1), demands=(Demand(GIB), Demand(GIB, pin=slot("a", 1))), moves={0: 1})
    assert (mixed.pinned, moving.pinned, moving.wanted) == (1, 1, 1)


def test_only_what_may_sleep_sleeps_and_more_than_the_most_is_refused() -> None:
    cluster = Cluster(worker("a")).launched(replace(deployment("m"), scaling=Scaling(1, 2)))
    with pytest.raises(InvalidRequest, match="min_replica 0"):
        cluster.do(ScaledDown(M, 0))
    with pytest.raises(InvalidRequest, match="max_replica"):
        cluster.do(ReplicasAdded(M, (Demand(GIB),) * 2))
    pinned = Cluster(worker("a")).launched(replace(deployment("m", Demand(GIB, pin=slot("a", 0))), scaling=Scaling(0, 2)))
    with pytest.raises(InvalidRequest, match="pinned"):
        pinned.do(ScaledDown(M, 0))
