"""The ledger's rule, and the index that holds it."""

from __future__ import annotations

import pytest

from tests.support.nouns import GIB, replica, slot, snapshot, worker
from xinfer.cluster.ids import DeviceUuid, ModelUid, WorkerId
from xinfer.cluster.ledger import fits, room_left, usage
from xinfer.cluster.replica import HOLDS_SLOT, Phase
from xinfer.cluster.worker import WorkerState

M = ModelUid("m")
FREE_TOTAL = 24 * GIB * 92 // 100


def uuid(text: str) -> DeviceUuid:
    return DeviceUuid(text)


def test_room_is_the_lesser_of_what_is_promised_and_what_is_seen() -> None:
    device = worker(gpus=1).devices[0]
    assert room_left(device, 4 * GIB, 0, None) == FREE_TOTAL - 4 * GIB
    assert room_left(device, 4 * GIB, 0, 10 * GIB) == 10 * GIB
    assert room_left(device, 4 * GIB, 3 * GIB, 10 * GIB) == 7 * GIB
    assert room_left(device, 20 * GIB, 0, 23 * GIB) == FREE_TOTAL - 20 * GIB


def test_fits_is_exact_at_the_border() -> None:
    device = worker(gpus=1).devices[0]
    assert fits(device, 0, 0, None, FREE_TOTAL)
    assert not fits(device, 0, 0, None, FREE_TOTAL + 1)
    assert fits(device, 0, GIB, 3 * GIB, 2 * GIB)
    assert not fits(device, 0, GIB, 3 * GIB, 2 * GIB + 1)


def test_loaded_replicas_are_in_the_observed_figure_already() -> None:
    w = worker(gpus=2, free={0: 10 * GIB, 1: 10 * GIB})
    loaded, loading = replica("x", 0, slot("a", 0), 4 * GIB), replica("x", 1, slot("a", 1), 4 * GIB, loaded=False, phase=Phase.LOADING)
    index = usage(snapshot([w], [loaded, loading]))
    assert index.room(w.devices[0]) == 10 * GIB
    assert index.room(w.devices[1]) == 6 * GIB


def test_cpu_slots_share_what_their_host_has_free() -> None:
    w = worker(gpus=2, free={0: 8 * GIB, 1: 8 * GIB}, domain="host")
    index = usage(snapshot([w], [replica("x", 0, slot("a", 0), 3 * GIB, loaded=False)]))
    assert index.room(w.devices[0]) == 5 * GIB
    assert index.room(w.devices[1]) == 5 * GIB
    assert index.unloaded("host") == 3 * GIB


def test_two_workers_of_one_host_share_its_memory() -> None:
    a, b = worker("a", 1, free={0: 8 * GIB}, domain="host"), worker("b", 1, free={0: 8 * GIB}, domain="host")
    index = usage(snapshot([a, b], [replica("x", 0, slot("a", 0), 3 * GIB, loaded=False)]))
    assert index.room(b.devices[0]) == 5 * GIB


def test_unknown_free_memory_leaves_the_ledger_alone() -> None:
    w = worker(gpus=1)
    index = usage(snapshot([w], [replica("x", 0, slot("a", 0), 4 * GIB, loaded=False)]))
    assert index.room(w.devices[0]) == FREE_TOTAL - 4 * GIB


def test_free_memory_of_a_lost_worker_is_not_believed() -> None:
    w = worker(gpus=1, free={0: GIB}, state=WorkerState.LOST)
    assert usage(snapshot([w])).free(w.devices[0].uuid) is None


@pytest.mark.parametrize("phase", list(Phase))
def test_only_replicas_that_hold_a_slot_or_wait_for_theirs_are_charged(phase: Phase) -> None:
    w = worker(gpus=1)
    index = usage(snapshot([w], [replica("x", 0, slot("a", 0), GIB, phase=phase)]))
    assert index.reserved(w.devices[0].uuid) == (GIB if phase in HOLDS_SLOT | {Phase.QUEUED} else 0)


def test_leaving_replicas_hold_memory_but_do_not_count_for_spreading() -> None:
    w = worker(gpus=1)
    index = usage(snapshot([w], [replica("m", 0, slot("a", 0), GIB, phase=Phase.DRAINING)]))
    assert index.reserved(uuid("a-0")) == GIB
    assert index.on_device(uuid("a-0"), M) == 0
    assert index.on_worker(WorkerId("a"), M) == 0


def test_counts_by_device_and_worker() -> None:
    w = worker(gpus=2)
    index = usage(snapshot([w], [replica("m", 0, slot("a", 0, 1)), replica("m", 1, slot("a", 1)), replica("n", 0, slot("a", 1))]))
    assert [index.on_device(d.uuid, M) for d in w.devices] == [1, 2]
    assert index.on_worker(WorkerId("a"), M) == 2
    assert index.replicas(uuid("a-1")) == 3
    assert index.models(uuid("a-1")) == {"m": 2, "n": 1}


def test_left_out_replicas_are_not_charged() -> None:
    w, r = worker(gpus=1), replica("m", 0, slot("a", 0))
    assert usage(snapshot([w], [r]), {r.id}).reserved(uuid("a-0")) == 0


def test_charges_add_up() -> None:
    w = worker(gpus=2, free={0: 8 * GIB, 1: 8 * GIB}, domain="host")
    index = usage(snapshot([w]))
    index.charge(slot("a", 0), 2 * GIB, M)
    index.charge(slot("a", 0), GIB, M, loaded=True)
    assert index.reserved(uuid("a-0")) == 3 * GIB
    assert index.room(w.devices[1]) == 6 * GIB
    assert index.on_device(uuid("a-0"), M) == 2


def test_devices_of_one_domain_are_charged_together() -> None:
    w = worker(gpus=3, free={0: 8 * GIB, 1: 8 * GIB, 2: 8 * GIB}, domain="host")
    index = usage(snapshot([w]))
    assert index.lacking(w.devices[:2], 4 * GIB) is None
    assert index.lacking(w.devices, 4 * GIB) == w.devices[2]
    assert index.together(w.devices, 4 * GIB, 3) == list(w.devices[:2])
    assert index.together(w.devices, 2 * GIB, 3) == list(w.devices)


def test_charges_of_devices_that_are_gone_do_no_harm() -> None:
    index = usage(snapshot([worker(gpus=1)], [replica("x", 0, slot("gone", 0), GIB, loaded=False)]))
    assert index.reserved(uuid("gone-0")) == GIB
    assert index.room(worker(gpus=1).devices[0]) == FREE_TOTAL


def test_what_goes_gives_back_its_charge_and_what_it_held() -> None:
    where = worker("a", 2, free={0: 10 * GIB, 1: 10 * GIB}, domain="host")
    held = [replica("m", 0, slot("a", 0), 4 * GIB), replica("m", 1, slot("a", 1), 3 * GIB, loaded=False)]
    now = usage(snapshot([where], held))
    later = now.copy()
    later.vacate(slot("a", 0), 4 * GIB, loaded=True)
    later.vacate(slot("a", 1), 3 * GIB, loaded=False)
    assert [now.room(device) for device in where.devices] == [7 * GIB, 7 * GIB]
    assert [later.room(device) for device in where.devices] == [14 * GIB, 14 * GIB]
    assert [later.reserved(device.uuid) for device in where.devices] == [0, 0]
    assert later.on_device(where.devices[0].uuid, ModelUid("m")) == 1
    later.charge(slot("a", 0), GIB, ModelUid("n"))
    assert now.models(where.devices[0].uuid) == {"m": 1}
