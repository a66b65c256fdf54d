"""Where replicas go, and why they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.nouns import GIB, deployment, replica, slot, snapshot, spec, worker
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.replica import Phase
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState
from xinfer.errors import InvalidRequest, NoFit, NoWorker
from xinfer.placement.filters import Obstacle
from xinfer.placement.plan import NoFitting, Plan, plan_launch

ONE = Demand(2 * GIB)


def planned(state: Snapshot, wanted: Deployment, ordinals: list[int] | None = None) -> list[Slot]:
    plan = plan_launch(state, wanted, ordinals)
    assert isinstance(plan, Plan), plan
    return [placed.slot for placed in plan.placements]


def unplanned(state: Snapshot, wanted: Deployment, ordinals: list[int] | None = None) -> NoFitting:
    plan = plan_launch(state, wanted, ordinals)
    assert isinstance(plan, NoFitting), plan
    return plan


# --- automatic ------------------------------------------------------------------------------------


def test_replicas_spread_over_workers_then_devices() -> None:
    slots = planned(snapshot([worker("a", 2), worker("b", 2)]), deployment("m", [ONE] * 4))
    assert slots == [slot("a", 0), slot("b", 0), slot("a", 1), slot("b", 1)]


def test_measured_sizes_do_not_change_the_order_of_places() -> None:
    sizes = [Demand(2 * GIB), Demand(2 * GIB + 1), Demand(2 * GIB - 1)]
    assert planned(snapshot([worker("a", 3)]), deployment("m", sizes)) == [slot("a", 0), slot("a", 1), slot("a", 2)]


def test_a_full_round_before_any_device_takes_two() -> None:
    slots = planned(snapshot([worker("a", 1), worker("b", 3)]), deployment("m", [ONE] * 5))
    assert sorted(slots[:4]) == [slot("a", 0), slot("b", 0), slot("b", 1), slot("b", 2)]
    assert slots[4] == slot("a", 0)  # fewest on the worker


def test_replicas_that_are_there_count() -> None:
    there = replica("m", 7, slot("a", 0), 2 * GIB)
    wanted = deployment("m", [ONE], first=8)
    assert planned(snapshot([worker("a", 1), worker("b", 1)], [there]), wanted) == [slot("b", 0)]


def test_a_new_model_goes_to_the_emptiest_device_not_beside_a_giant() -> None:
    giant = replica("giant", 0, slot("a", 0), 15 * GIB)
    small = replica("small", 0, slot("a", 1), GIB)
    assert planned(snapshot([worker("a", 2)], [giant, small]), deployment("m", [ONE])) == [slot("a", 1)]


def test_observed_free_memory_counts_beside_the_ledger() -> None:
    assert planned(snapshot([worker("a", 2, free={0: 3 * GIB, 1: 20 * GIB})]), deployment("m", [ONE])) == [slot("a", 1)]


def test_one_replica_over_several_devices_of_one_worker() -> None:
    state = snapshot([worker("a", 2), worker("b", 4)], [replica("x", 0, slot("b", 1), 4 * GIB)])
    assert planned(state, deployment("m", [Demand(2 * GIB, 3)])) == [slot("b", 0, 2, 3)]
    assert planned(state, deployment("m", [Demand(2 * GIB, 2)] * 3)) == [slot("a", 0, 1), slot("b", 0, 2), slot("b", 1, 3)]


def test_cpu_slots_of_one_replica_share_what_is_free() -> None:
    host = worker("a", 2, free={0: 5 * GIB, 1: 5 * GIB}, domain="host")
    assert planned(snapshot([host]), deployment("m", [Demand(2 * GIB, 2)])) == [slot("a", 0, 1)]
    refused = unplanned(snapshot([host]), deployment("m", [Demand(3 * GIB, 2)]))
    assert {r.obstacle for r in refused.refusals} == {Obstacle.COUNT}


def test_earlier_replicas_of_a_plan_are_charged() -> None:
    host = worker("a", 2, free={0: 5 * GIB, 1: 5 * GIB}, domain="host")
    refused = unplanned(snapshot([host]), deployment("m", [Demand(2 * GIB)] * 3))
    assert [p.ordinal for p in refused.placements] == [0, 1]
    assert refused.param == "replica"


def test_a_worker_that_was_asked_for_is_kept_to() -> None:
    wanted = deployment("m", [Demand(2 * GIB, worker_id="b")] * 3)
    assert planned(snapshot([worker("a", 4), worker("b", 2)]), wanted) == [slot("b", 0), slot("b", 1), slot("b", 0)]


@pytest.mark.parametrize("state", [WorkerState.SUSPECT, WorkerState.LOST])
def test_workers_that_are_not_alive_get_nothing(state: WorkerState) -> None:
    there = snapshot([worker("a", 2, state=state), worker("b", 1)])
    plan = plan_launch(there, deployment("m", [ONE] * 2))
    assert isinstance(plan, Plan)
    assert {p.slot for p in plan.placements} == {slot("b", 0)}
    assert [(r.text, r.obstacle) for r in plan.refusals] == [("10.0.0.1:24002@0", Obstacle.WORKER), ("10.0.0.1:24002@1", Obstacle.WORKER)]


def test_the_engine_must_be_there_and_workers_that_do_not_say_are_believed() -> None:
    state = snapshot([worker("a", 1, engines=["onnxruntime"]), worker("b", 1, engines=[])])
    plan = plan_launch(state, deployment("m", [ONE]))
    assert isinstance(plan, Plan)
    assert plan.placements[0].slot == slot("b", 0)
    assert plan.refusals[0].obstacle is Obstacle.ENGINE
    assert plan.refusals[0].reason == "engine st is not installed there, only onnxruntime"


def test_avoided_slots_are_taken_only_if_nothing_else_fits() -> None:
    failed = replica("m", 0, phase=Phase.QUEUED, avoid=(slot("a", 0),))
    wanted = deployment("m", [ONE])
    assert planned(snapshot([worker("a", 2)], [failed]), wanted) == [slot("a", 1)]
    assert planned(snapshot([worker("a", 1), worker("b", 1)], [failed]), wanted) == [slot("b", 0)]
    plan = plan_launch(snapshot([worker("a", 1)], [failed]), wanted)
    assert isinstance(plan, Plan)
    assert plan.placements[0].slot == slot("a", 0)
    assert "failed here before" in plan.placements[0].reason


def test_avoiding_is_worth_sharing_a_device_with_its_own_kind() -> None:
    failed = replica("m", 0, phase=Phase.QUEUED, avoid=(slot("a", 0),))
    others = [replica("m", 1, slot("a", 1)), replica("m", 2, slot("b", 0))]
    state = snapshot([worker("a", 2), worker("b", 1)], [failed, *others])
    assert planned(state, deployment("m", [ONE] * 3), [0]) == [slot("a", 1)]


def test_avoiding_is_each_replicas_own() -> None:
    failed = replica("m", 0, phase=Phase.QUEUED, avoid=(slot("a", 0),))
    assert planned(snapshot([worker("a", 2)], [failed]), deployment("m", [ONE] * 2)) == [slot("a", 1), slot("a", 0)]


# --- which ordinals ---------------------------------------------------------------------------------


def test_only_replicas_without_a_slot_are_planned() -> None:
    states = [Phase.READY, Phase.QUEUED, Phase.BACKOFF, Phase.FAILED, Phase.LOADING]
    replicas = [replica("m", i, slot("a", 0), phase=p) for i, p in enumerate(states)]
    plan = plan_launch(snapshot([worker("a", 4)], replicas), deployment("m", [ONE] * 6))
    assert isinstance(plan, Plan)
    assert [p.ordinal for p in plan.placements] == [1, 5]


def test_a_replica_planned_anew_is_not_in_its_own_way() -> None:
    state = snapshot([worker("a", 1)], [replica("m", 0, slot("a", 0), 20 * GIB)])
    assert planned(state, deployment("m", [Demand(20 * GIB)]), [0]) == [slot("a", 0)]
    unplanned(state, deployment("other", [Demand(20 * GIB)]))


def test_a_replica_planned_anew_sees_the_others() -> None:
    others = [replica("m", 0, slot("a", 0), 20 * GIB), replica("m", 1, slot("a", 1), GIB)]
    state = snapshot([worker("a", 2)], others)
    assert planned(state, deployment("m", [Demand(20 * GIB)] * 2), [1]) == [slot("a", 1)]


def test_an_ordinal_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="m has no replica 4"):
        plan_launch(snapshot([worker()]), deployment("m", [ONE]), [0, 4])


def test_nothing_to_plan_is_a_plan() -> None:
    assert plan_launch(snapshot(), deployment("m")) == Plan(())


# --- pins -------------------------------------------------------------------------------------------


def test_pins_are_honoured_in_their_order() -> None:
    pins = [slot("a", 3), slot("a", 3), slot("b", 1, 0)]
    wanted = deployment("m", [Demand(2 * GIB, len(p.device_uuids), p) for p in pins])
    assert planned(snapshot([worker("a", 4), worker("b", 2)]), wanted) == pins


def test_automatic_replicas_leave_room_for_pins() -> None:
    wanted = deployment("m", [Demand(20 * GIB), Demand(20 * GIB, 1, slot("a", 0))])
    assert planned(snapshot([worker("a", 2)]), wanted) == [slot("a", 1), slot("a", 0)]


def test_the_least_free_to_choose_go_first() -> None:
    wanted = deployment("m", [Demand(20 * GIB), Demand(20 * GIB, worker_id="a")])
    assert planned(snapshot([worker("a", 1), worker("b", 1)]), wanted) == [slot("b", 0), slot("a", 0)]


@pytest.mark.parametrize(
    ("pin", "obstacle", "sentence"),
    [
        (slot("a", 0), Obstacle.MEMORY, "10.0.0.1:24002@0: needs 5 GiB, has 2.1 GiB left beside 20 GiB reserved by x"),
        (slot("a", 1), Obstacle.MEMORY, "needs 5 GiB, has 3 GiB left of 3 GiB observed free"),
        (slot("a", 2, 0), Obstacle.MEMORY, "10.0.0.1:24002@2,0: needs 5 GiB, has 2.1 GiB left"),
        (slot("a", 9), Obstacle.WORKER, "its worker has no such device any more"),
        (slot("z", 0), Obstacle.WORKER, "its worker is not there"),
        (slot("b", 0), Obstacle.WORKER, "has not been heard of lately"),
        (slot("c", 0), Obstacle.WORKER, "is lost"),
        (slot("d", 0), Obstacle.ENGINE, "engine st is not installed there"),
    ],
)
def test_pins_that_cannot_be_are_not_moved(pin: Slot, obstacle: Obstacle, sentence: str) -> None:
    workers = [
        worker("a", 4, free={1: 3 * GIB}),
        worker("b", 1, state=WorkerState.SUSPECT),
        worker("c", 1, state=WorkerState.LOST),
        worker("d", 1, engines=["vllm"]),
    ]
    state = snapshot(workers, [replica("x", 0, slot("a", 0), 20 * GIB)])
    refused = unplanned(state, deployment("m", [Demand(5 * GIB, len(pin.device_uuids), pin)]))
    assert refused.refusals[0].slot == pin
    assert refused.refusals[0].obstacle is obstacle
    assert sentence in refused.reason
    assert refused.param == "slots"


# --- what does not fit ------------------------------------------------------------------------------


def test_memory_that_fits_nowhere_names_every_slot() -> None:
    refused = unplanned(snapshot([worker("a", 2), worker("b", 2)]), deployment("m", [Demand(30 * GIB)]))
    assert [r.text for r in refused.refusals] == ["10.0.0.1:24002@0", "10.0.0.1:24002@1", "10.0.0.2:24002@0", "10.0.0.2:24002@1"]
    assert refused.param == "memory"
    assert refused.reason == "memory: a replica needs 30 GiB on a device, and the most that any has room for is 22.1 GiB."
    error = refused.to_error()
    assert isinstance(error, NoFit)
    assert (error.http_status, error.param) == (400, "memory")
    assert error.details["refusals"][3] == {
        "slot": "10.0.0.2:24002@1",
        "worker_id": "b",
        "obstacle": "memory",
        "reason": "needs 30 GiB, more than the 22.1 GiB that may be used of its 24 GiB",
        "hint": "use a larger device, more devices per replica, or a smaller memory",
    }


def test_too_many_replicas_says_how_many_fit() -> None:
    refused = unplanned(snapshot([worker("a", 3)]), deployment("m", [Demand(20 * GIB)] * 5))
    assert refused.param == "replica"
    assert refused.reason.startswith("replica: only 3 of 5 fit now")
    assert len(refused.placements) == 3
    assert len(refused.refusals) == 3
    assert all("reserved by m" in r.reason for r in refused.refusals)


def test_too_many_devices_per_replica() -> None:
    state = snapshot([worker("a", 3), worker("b", 2)], [replica("x", 0, slot("a", 0), 22 * GIB)])
    refused = unplanned(state, deployment("m", [Demand(10 * GIB, 3)]))
    assert refused.param == "n_gpu"
    assert refused.reason.endswith("the most that any worker has is 2.")
    assert [r.obstacle for r in refused.refusals].count(Obstacle.COUNT) == 4


def test_an_engine_that_is_nowhere() -> None:
    refused = unplanned(snapshot([worker("a", 1)]), deployment("m", [ONE], of=spec("vllm")))
    assert refused.param == "model_engine"
    assert "no worker that could take it has vllm" in refused.reason


def test_no_worker_is_worth_another_try() -> None:
    for state in (snapshot(), snapshot([worker("a", 2, state=WorkerState.SUSPECT)])):
        error = unplanned(state, deployment("m", [ONE])).to_error()
        assert isinstance(error, NoWorker)
        assert error.retryable


def test_a_worker_that_left_after_it_was_asked_for() -> None:
    refused = unplanned(snapshot([worker("a", 1)]), deployment("m", [Demand(GIB, worker_id="b")]))
    assert refused.param == "worker_ip"


def test_refusals_come_with_a_plan_that_fits() -> None:
    state = snapshot([worker("a", 2)], [replica("x", 0, slot("a", 1), 22 * GIB)])
    plan = plan_launch(state, deployment("m", [ONE]))
    assert isinstance(plan, Plan)
    assert [r.text for r in plan.refusals] == ["10.0.0.1:24002@1"]
    assert plan.refusals[0].hint == "stop or move a replica there, or give a smaller memory"


def test_predicted_memory_is_that_after_the_whole_plan() -> None:
    plan = plan_launch(snapshot([worker("a", 1)]), deployment("m", [ONE, ONE]))
    assert isinstance(plan, Plan)
    assert [p.free_after for p in plan.placements] == [24 * GIB * 92 // 100 - 4 * GIB] * 2
    assert [p.reserved_bytes for p in plan.placements] == [2 * GIB] * 2


def test_devices_of_one_kind_are_found_or_the_plan_says_that_there_are_too_few() -> None:
    def mixed(*names: str) -> Snapshot:
        one = worker("a", len(names))
        return snapshot([replace(one, devices=tuple(replace(d, name=name) for d, name in zip(one.devices, names, strict=True)))])

    pair = deployment("m", [Demand(GIB, 2, alike=True)])
    plan = plan_launch(mixed("A100", "H100", "L4", "H100"), pair)
    assert isinstance(plan, Plan)
    assert plan.placements[0].slot == slot("a", 1, 3)
    free = plan_launch(mixed("A100", "H100", "L4", "H100"), deployment("m", [Demand(GIB, 2)]))
    assert isinstance(free, Plan)
    assert free.placements[0].slot == slot("a", 0, 1)
    none = plan_launch(mixed("A100", "H100", "L4"), pair)
    assert isinstance(none, NoFitting)
    assert none.refusals[0].reason == "a replica needs 2 devices of one kind of one worker, and too few have room together here"
    pinned = plan_launch(mixed("A100", "H100"), deployment("m", [Demand(GIB, 2, slot("a", 0, 1), alike=True)]))
    assert isinstance(pinned, NoFitting)
    assert pinned.refusals[0].reason == "st needs devices of one kind, and these are A100 and H100"
