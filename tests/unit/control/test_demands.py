"""What further replicas need, and where they may go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, Cluster, deployment, slot, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import WorkerId
from xinfer.control.demands import compile_growth, compile_move
from xinfer.errors import InvalidPlacement, ReplicaNotFound
from xinfer.schemas.launch import Placement

CLUSTER = Cluster(worker("a", 4), worker("b", 4)).snapshot
B = CLUSTER.workers[WorkerId("b")].address


def test_growth_is_placed_freely_with_the_memory_of_the_largest_free_replica() -> None:
    bound = Demand(2 * GIB, worker_id="a")
    mixed = deployment("m", Demand(9 * GIB, pin=slot("a", 1)), bound, Demand(GIB))
    assert compile_growth(mixed, 2) == (bound, bound)


def test_growth_of_pinned_replicas_is_unpinned() -> None:
    pinned = deployment("m", Demand(2 * GIB, 2, pin=slot("a", 0, 1), fixed_bytes=True))
    assert compile_growth(pinned, 1) == (Demand(2 * GIB, 2, fixed_bytes=True),)


def test_a_move_to_a_slot_keeps_everything_but_the_place() -> None:
    own = Demand(3 * GIB, worker_id="a", fixed_bytes=True)
    demand = compile_move(deployment("m", own), "m-0", Placement(slots=[f"{B}@2"]), CLUSTER)
    assert demand == replace(own, pin=slot("b", 2), worker_id=None)


def test_a_move_to_a_worker_or_anywhere_is_unpinned() -> None:
    own = Demand(3 * GIB, worker_id="a")
    assert compile_move(deployment("m", own), "m-0", Placement(worker_ip=B), CLUSTER) == replace(own, worker_id="b")
    assert compile_move(deployment("m", own), "m-0", Placement(), CLUSTER) == own


def test_a_move_of_several_devices_takes_as_many() -> None:
    own = Demand(GIB, 2)
    assert compile_move(deployment("m", own), "m-0", Placement(), CLUSTER) == own
    assert compile_move(deployment("m", own), "m-0", Placement(slots=[f"{B}@0,3"]), CLUSTER).pin == slot("b", 0, 3)


@pytest.mark.parametrize(
    ("own", "placement", "sentence"),
    [
        (Demand(GIB), Placement(slots=[f"{B}@0", f"{B}@1"]), "one slot"),
        (Demand(GIB), Placement(replica=2), "one slot"),
        (Demand(GIB), Placement(slots=[f"{B}@0,1"]), "1 devices, not 2"),
        (Demand(GIB, 2), Placement(slots=[f"{B}@0"]), "2 devices, not 1"),
        (Demand(GIB, pin=slot("a", 0)), Placement(), "is pinned: name the slot"),
    ],
)
def test_moves_of_another_shape_are_refused(own: Demand, placement: Placement, sentence: str) -> None:
    with pytest.raises(InvalidPlacement, match=sentence) as caught:
        compile_move(deployment("m", own), "m-0", placement, CLUSTER)
    assert caught.value.param == "slots"


def test_a_move_of_nobody_names_who_is_there() -> None:
    with pytest.raises(ReplicaNotFound, match="its replicas are: m-0"):
        compile_move(deployment("m"), "m-4", Placement(), CLUSTER)
