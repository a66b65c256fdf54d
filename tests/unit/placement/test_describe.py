"""Plans as clients read them."""

from __future__ import annotations

from tests.support.nouns import GIB, deployment, replica, slot, snapshot, worker
from xinfer.cluster.deployment import Demand
from xinfer.placement.describe import plan_reply
from xinfer.placement.plan import plan_launch


def test_a_plan_names_slots_devices_and_memory() -> None:
    state = snapshot([worker("a", 2), worker("b", 2)], [replica("x", 0, slot("a", 0), 22 * GIB)])
    wanted = deployment("m", [Demand(2 * GIB, 2, slot("b", 1, 0)), Demand(3 * GIB)])
    reply = plan_reply(plan_launch(state, wanted), wanted, state)
    assert reply.fits
    assert (reply.model_uid, reply.model_name, reply.model_engine, reply.dtype) == ("m", "tiny", "st", "float32")
    assert reply.memory_per_device_bytes == 3 * GIB
    first, second = reply.replicas
    assert (first.slot, first.gpu_idx, first.device_uuids) == ("10.0.0.2:24002@1,0", [1, 0], ["b-1", "b-0"])
    assert (first.worker_id, first.worker_address, first.device_names) == ("b", "10.0.0.2:24002", ["Sim 24", "Sim 24"])
    assert (first.why, first.reserved_bytes, first.free_after_bytes) == ("pinned", 2 * GIB, 24 * GIB * 92 // 100 - 2 * GIB)
    assert (first.pinned, second.pinned) == (True, False)
    assert (second.ordinal, second.slot) == (1, "10.0.0.1:24002@1")
    assert second.why == "0 other replicas of the model on the device, 0 on the worker, 92% of the memory free"
    assert [(r.slot, r.reason) for r in reply.refused] == [
        ("10.0.0.1:24002@0", "needs 3 GiB, has 81.9 MiB left beside 22 GiB reserved by x")
    ]
    assert reply.reason == ""


def test_what_does_not_fit_plans_nothing_and_says_why() -> None:
    state = snapshot([worker("a", 1)])
    wanted = deployment("m", [Demand(20 * GIB)] * 2)
    reply = plan_reply(plan_launch(state, wanted), wanted, state)
    assert not reply.fits
    assert reply.replicas == []
    assert len(reply.refused) == 1
    assert reply.reason.startswith("replica: only 1 of 2 fit now")


def test_what_moves_would_make_room_for_is_said_with_the_command() -> None:
    held = [replica("x", 0, slot("a", 0), 8 * GIB), replica("y", 0, slot("a", 1), 6 * GIB)]
    state = snapshot([worker("a", 2)], held, [deployment("x", [Demand(8 * GIB)]), deployment("y", [Demand(6 * GIB)])])
    wanted = deployment("m", [Demand(20 * GIB - 7)])
    reply = plan_reply(plan_launch(state, wanted), wanted, state)
    assert [(move.replica_model_uid, move.slot, move.to_slot, move.successor) for move in reply.moves] == [
        ("y-0", "10.0.0.1:24002@1", "10.0.0.1:24002@0", None)
    ]
    assert reply.hint == "`xinfer rebalance --memory 20480MiB --model-engine st` would make room by moving y-0 to 10.0.0.1:24002@0"
    for nothing in ([Demand(23 * GIB)], [Demand(20 * GIB)] * 2, [Demand(20 * GIB, pin=slot("a", 1))], [Demand(20 * GIB, worker_id="a")]):
        refused = deployment("m", nothing)
        reply = plan_reply(plan_launch(state, refused), refused, state)
        assert (reply.fits, reply.moves, reply.hint) == (False, [], "")


def test_the_command_names_devices_and_replicas_where_there_are_several() -> None:
    held = [replica("x", i, slot("a", i), 6 * GIB) for i in range(4)]
    state = snapshot([worker("a", 4)], held, [deployment("x", [Demand(6 * GIB)] * 4)])
    wanted = deployment("m", [Demand(18 * GIB, 2)])
    reply = plan_reply(plan_launch(state, wanted), wanted, state)
    assert "--memory 18432MiB --n-gpu 2 --model-engine st" in reply.hint
    assert reply.hint.endswith(" and 1 more")
