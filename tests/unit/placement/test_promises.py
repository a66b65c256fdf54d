"""From the words of a launch to slots: two workers with four simulated GPUs each, every spelling, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.nouns import GIB, deployment, replica, slot, snapshot, worker
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.snapshot import Snapshot
from xinfer.errors import InvalidPlacement
from xinfer.placement.compile import compile_pins
from xinfer.placement.plan import NoFitting, Plan, plan_launch
from xinfer.schemas.launch import Placement

A, B = worker("a", 4), worker("b", 4)
ADDR_A, ADDR_B = A.address, B.address
EMPTY = snapshot([A, B])


def asked(uid: str = "m", need: int = GIB, **fields: Any) -> Deployment:
    pins = compile_pins(Placement.model_validate(fields), (A, B))
    return deployment(uid, [Demand(need, p.n_devices, p.pin, p.worker_id) for p in pins])


def slots(state: Snapshot, wanted: Deployment) -> list[Any]:
    plan = plan_launch(state, wanted)
    assert isinstance(plan, Plan), plan
    return [placed.slot for placed in plan.placements]


def running(uid: str, where: list[Any]) -> Snapshot:
    return snapshot([A, B], [replica(uid, ordinal, there) for ordinal, there in enumerate(where)])


@pytest.mark.parametrize(
    ("fields", "exactly"),
    [
        ({"slots": [f"{ADDR_A}@3", f"{ADDR_B}@1"]}, [slot("a", 3), slot("b", 1)]),
        (
            {
                "replica_config": [
                    {"devices": [{"worker_ip": ADDR_A, "gpu_idx": [3]}]},
                    {"devices": [{"worker_ip": ADDR_B, "gpu_idx": [1]}]},
                ]
            },
            [slot("a", 3), slot("b", 1)],
        ),
        ({"replica": 2, "gpu_idx": "0,2", "worker_ip": ADDR_A}, [slot("a", 0), slot("a", 2)]),
        ({"replica": 1, "gpu_idx": [0, 2], "worker_ip": ADDR_A}, [slot("a", 0, 2)]),
        ({"replica": 2, "slots": [f"{ADDR_A}@0", f"{ADDR_A}@0"]}, [slot("a", 0)] * 2),
    ],
)
def test_pins_are_kept_exactly_and_eight_more_spread_one_per_device(fields: dict[str, Any], exactly: list[Any]) -> None:
    pinned = slots(EMPTY, asked(**fields))
    assert pinned == exactly
    afterwards = slots(running("m", pinned), asked("other", replica=8))
    assert Counter(afterwards) == Counter(slot(name, index) for name in "ab" for index in range(4))


def test_two_replicas_on_one_worker_with_two_devices_take_both() -> None:
    alone = snapshot([worker("a", 2)])
    assert slots(alone, deployment("m", [Demand(GIB)] * 2)) == [slot("a", 0), slot("a", 1)]


def test_two_replicas_of_different_size_share_a_card_while_the_ledger_allows() -> None:
    both = deployment("m", [Demand(10 * GIB, pin=slot("a", 0)), Demand(11 * GIB, pin=slot("a", 0))])
    assert slots(EMPTY, both) == [slot("a", 0), slot("a", 0)]
    over = deployment("m", [Demand(12 * GIB, pin=slot("a", 0)), Demand(11 * GIB, pin=slot("a", 0))])
    refused = plan_launch(EMPTY, over)
    assert isinstance(refused, NoFitting)
    assert refused.param == "slots"
    assert refused.to_error().http_status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"worker_ip": "10.9.9.9", "replica": 1}, "worker_ip"),
        ({"slots": ["10.9.9.9:1@0"]}, "slots"),
        ({"gpu_idx": [7], "worker_ip": ADDR_A}, "gpu_idx"),
        ({"slots": [f"{ADDR_A}@4"]}, "slots"),
        ({"gpu_idx": [0, 1, 2], "replica": 2, "worker_ip": ADDR_A}, "gpu_idx"),
        ({"slots": [f"{ADDR_A}@0"], "replica": 2}, "replica"),
        ({"slots": [f"{ADDR_A}@1,1"]}, "slots"),
        ({"replica": 0}, "replica"),
    ],
)
def test_what_is_not_there_is_a_400_that_names_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidPlacement) as caught:
        asked(**fields)
    assert (caught.value.param, caught.value.http_status) == (param, 400)


def test_memory_that_does_not_fit_is_a_400_that_names_the_field_and_every_slot() -> None:
    refused = plan_launch(EMPTY, asked(need=30 * GIB, replica=2))
    assert isinstance(refused, NoFitting)
    error = refused.to_error()
    assert (error.http_status, error.param) == (400, "memory")
    assert len(error.details["refusals"]) == 8
    assert all(entry["reason"] and entry["hint"] for entry in error.details["refusals"])


def test_a_plan_leaves_the_snapshot_as_it_was() -> None:
    state = running("m", [slot("a", 0)])
    before = repr(state)
    plan_launch(state, asked("other", replica=8))
    plan_launch(state, asked("other", need=30 * GIB))
    assert repr(state) == before


@pytest.mark.parametrize("field", ["gpu_index", "worker", "pins", "replicas"])
def test_an_unknown_field_never_becomes_automatic_placement(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Placement.model_validate({field: 1})
