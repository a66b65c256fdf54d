"""Moves that make room and empty devices: each plan gains something, none overdraws at any step, and they come to an end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import GIB, deployment, replica, slot, snapshot, spec, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ModelUid, WorkerId
from xinfer.cluster.ledger import usable_bytes
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState
from xinfer.placement.plan import NoFitting, plan_launch
from xinfer.placement.rebalance import Relocation, plan_rebalance
from xinfer.placement.wants import Room


def held_to(state: Snapshot, **workers: str) -> Snapshot:
    """The first replica of each of these models bound to that worker."""
    bound = {
        uid: replace(one, demands=(replace(one.demands[0], worker_id=workers[uid]), *one.demands[1:])) if uid in workers else one
        for uid, one in state.deployments.items()
    }
    return replace(state, deployments=bound)


def cluster(workers: list[Any], *held: tuple[str, Slot | None, int], **demand: Any) -> Snapshot:
    """Replicas as (model, slot or None to wait, GiB), numbered by model; ``demand`` goes into every demand."""
    counts: Counter[str] = Counter()
    replicas: list[Replica] = []
    demands: dict[str, list[Demand]] = {}
    for uid, where, gib in held:
        phase = {"phase": Phase.QUEUED, "loaded": False, "address": None} if where is None else {}
        replicas.append(replica(uid, counts[uid], where, 0 if where is None else gib * GIB, **phase))
        n_devices = demand.get("n_devices") or (len(where.device_uuids) if where else 1)
        demands.setdefault(uid, []).append(replace(Demand(gib * GIB, **demand), n_devices=n_devices))
        counts[uid] += 1
    return snapshot(workers, replicas, [deployment(uid, each) for uid, each in demands.items()])


def moves(state: Snapshot, most: int = 8, *rooms: Room) -> list[tuple[str, Slot]]:
    return [(move.replica_id, move.target) for move in plan_rebalance(state, most, rooms).moves]


def test_what_waits_finds_room_by_the_smallest_move_that_is_enough() -> None:
    """20 GiB fit nowhere, although 2 × 14 GiB are left: the small one of two that stand in the way goes."""
    state = cluster([worker("a", 2)], ("x", slot("a", 0), 8), ("y", slot("a", 1), 6), ("big", None, 20))
    plan = plan_rebalance(state)
    (move,) = plan.moves
    assert (move.replica_id, move.source, move.target) == ("y-0", slot("a", 1), slot("a", 0))
    assert (move.reserved_bytes, plan.unmet) == (6 * GIB, ())
    assert move.why == "makes room for big-0, which needs 20 GiB on a device"


def test_several_leave_where_one_is_not_enough_each_to_a_place_that_has_room_now() -> None:
    held = [("x", slot("a", 0), 6), ("y", slot("a", 0), 7), ("z", slot("a", 1), 16), ("z", slot("a", 2), 15)]
    assert sorted(moves(cluster([worker("a", 3)], *held, ("big", None, 22)))) == [("x-0", slot("a", 1)), ("y-0", slot("a", 2))]


def test_room_that_cannot_be_made_is_named_and_nothing_moves_for_it() -> None:
    state = cluster([worker("a", 2)], ("x", slot("a", 0), 12), ("y", slot("a", 1), 12), ("big", None, 20))
    plan = plan_rebalance(state)
    assert (plan.moves, plan.unmet) == ((), ("big-0, which needs 20 GiB on a device",))


def test_what_fits_already_needs_no_move_and_keeps_its_place() -> None:
    state = cluster([worker("a", 3)], ("x", slot("a", 0), 12), ("y", slot("a", 1), 3), ("big", None, 20))
    assert moves(state) == [("y-0", slot("a", 0))]
    assert moves(cluster([worker("a", 2)], ("x", slot("a", 0), 1), ("big", None, 20))) == [], "nothing goes where it is to start"


def test_moves_that_are_under_way_count_as_done() -> None:
    state = cluster([worker("a", 2)], ("x", slot("a", 0), 8), ("y", slot("a", 1), 6), ("y", slot("a", 0), 6), ("big", None, 20))
    moving = replace(state.deployments[ModelUid("y")], moves={0: 1})
    plan = plan_rebalance(replace(state, deployments={**state.deployments, ModelUid("y"): moving}))
    assert (plan.moves, plan.unmet) == ((), ())


def test_a_model_that_serves_its_last_requests_counts_as_gone() -> None:
    state = cluster([worker("a", 2)], ("x", slot("a", 0), 8), ("y", slot("a", 1), 6), ("big", None, 20))
    closing = replace(state.deployments[ModelUid("y")], demands=(), ordinals=(), closing=99.0)
    plan = plan_rebalance(replace(state, deployments={**state.deployments, ModelUid("y"): closing}))
    assert (plan.moves, plan.unmet) == ((), ())


def test_room_is_made_on_devices_side_by_side_and_for_pins() -> None:
    state = cluster([worker("a", 3)], ("x", slot("a", 0), 6), ("y", slot("a", 1), 6), ("big", None, 18), n_devices=None)
    pair = replace(state.deployments[ModelUid("big")], demands=(Demand(18 * GIB, 2),))
    assert moves(replace(state, deployments={**state.deployments, ModelUid("big"): pair})) == [("x-0", slot("a", 1))]
    pinned = replace(pair, demands=(Demand(18 * GIB, 2, slot("a", 1, 2)),))
    assert moves(replace(state, deployments={**state.deployments, ModelUid("big"): pinned})) == [("y-0", slot("a", 0))]


def test_room_is_made_for_what_people_are_about_to_launch_and_nothing_else_moves() -> None:
    crowd = [("z", slot("b", 0), 1), ("z", slot("b", 0), 1)]
    state = cluster([worker("a", 2), worker("b", 2, engines=("other",))], ("x", slot("a", 0), 8), ("y", slot("a", 1), 6), *crowd)
    assert moves(state, 8, Room(20 * GIB, engine="st")) == [("y-0", slot("a", 0))]
    assert moves(state, 8, Room(20 * GIB)) == [], "b has room"
    both = plan_rebalance(state, 8, (Room(20 * GIB, engine="st"),) * 2)
    assert both.unmet == ("a replica of 20 GiB on a device",)


def test_the_device_that_holds_least_is_emptied_into_the_fullest_that_has_room() -> None:
    state = cluster([worker("a", 4)], ("x", slot("a", 0), 3), ("y", slot("a", 1), 10), ("z", slot("a", 2), 14))
    plan = plan_rebalance(state)
    assert [(move.replica_id, move.source, move.target) for move in plan.moves] == [("x-0", slot("a", 0), slot("a", 2))]
    assert plan.moves[0].why == "leaves 10.0.0.1:24002@0 free as a whole"
    assert plan.freed == (slot("a", 0),)


def test_all_that_stands_on_a_device_goes_or_nothing_does() -> None:
    held = [("x", slot("a", 0), 3), ("y", slot("a", 0), 4), ("z", slot("a", 1), 15), ("v", slot("a", 2), 17)]
    assert sorted(moves(cluster([worker("a", 3)], *held))) == [("x-0", slot("a", 1)), ("y-0", slot("a", 2))]
    held[2] = ("z", slot("a", 1), 20)
    assert moves(cluster([worker("a", 3)], *held)) == [], "x would find room and y none"


def test_its_own_worker_comes_first_and_a_device_that_was_to_take_something_in_may_itself_be_emptied() -> None:
    two = [worker("a", 2), worker("b", 1, gib=48)]
    held = [("x", slot("a", 0), 2), ("y", slot("a", 1), 8), ("z", slot("b", 0), 40)]
    assert moves(cluster(two, *held)) == [("x-0", slot("a", 1))]
    held[2] = ("z", slot("b", 0), 25)
    state = cluster(two, *held)
    assert moves(state) == [("x-0", slot("b", 0)), ("y-0", slot("b", 0))], "x goes straight to where y goes"
    assert plan_rebalance(state).freed == (slot("a", 0), slot("a", 1))


def test_a_replica_over_two_devices_leaves_both_or_stays() -> None:
    pair = ("big", slot("a", 0, 1), 4)
    state = cluster([worker("a", 2), worker("b", 2)], pair, ("x", slot("b", 0), 10), ("y", slot("b", 1), 12))
    plan = plan_rebalance(state)
    assert [(move.replica_id, move.target) for move in plan.moves] == [("big-0", slot("b", 0, 1))]
    assert plan.freed == (slot("a", 0), slot("a", 1))
    assert plan.moves[0].why == "leaves 10.0.0.1:24002@0, 10.0.0.1:24002@1 free as a whole"
    assert moves(cluster([worker("a", 2), worker("b", 2)], pair, ("x", slot("b", 0), 19), ("y", slot("b", 1), 20))) == []
    assert moves(cluster([worker("a", 3)], pair, ("x", slot("a", 2), 2))) == [("x-0", slot("a", 0))]


def test_replicas_of_one_model_come_no_closer_than_they_are() -> None:
    assert moves(cluster([worker("a", 2)], ("m", slot("a", 0), 1), ("m", slot("a", 1), 1))) == []
    apart = cluster([worker("a", 1), worker("b", 2)], ("m", slot("a", 0), 1), ("m", slot("b", 0), 3), ("y", slot("b", 1), 22))
    assert moves(apart) == [], "b has one of m already"
    beside = cluster([worker("a", 1), worker("b", 2)], ("m", slot("a", 0), 1), ("m", slot("b", 0), 3), ("y", slot("b", 1), 14))
    assert moves(held_to(beside, y="b")) == [("m-1", slot("b", 1))], "and b gets no second one"
    together = cluster([worker("a", 1), worker("b", 1)], ("m", slot("a", 0), 1), ("m", slot("a", 0), 1), ("y", slot("b", 0), 3))
    assert sorted(moves(together)) == [("m-0", slot("b", 0)), ("m-1", slot("b", 0))], "the two stand together already"


def test_devices_that_hold_nothing_are_not_taken() -> None:
    assert moves(cluster([worker("a", 3)], ("x", slot("a", 0), 10), ("y", slot("a", 1), 13))) == []


def test_pins_bounds_drains_moves_and_sick_workers_are_respected() -> None:
    two = [worker("a", 1), worker("b", 1)]
    pair = [("x", slot("a", 0), 1), ("y", slot("b", 0), 2)]
    assert moves(cluster(two, *pair)) == [("x-0", slot("b", 0))]
    assert moves(cluster(two, *pair, pin=slot("a", 0))) == []
    bound = cluster(two, *pair)
    bound = replace(
        bound,
        deployments={uid: replace(d, demands=(replace(d.demands[0], worker_id="ab"[uid == "y"]),)) for uid, d in bound.deployments.items()},
    )
    assert moves(bound) == []
    assert moves(cluster([worker("a", 2)], *pair[:1], ("z", slot("a", 1), 3), worker_id="a")) == [("x-0", slot("a", 1))]
    for name in "ab":
        assert moves(replace(cluster(two, *pair), draining=frozenset({WorkerId(name)}))) == []
    for state in (WorkerState.SUSPECT, WorkerState.LOST):
        assert moves(cluster([worker("a", 1, state=state), worker("b", 1)], *pair)) == []
        assert moves(cluster([worker("a", 1), worker("b", 1, state=state)], *pair)) == []
    assert moves(cluster([worker("a", 1), worker("b", 1, engines=("other",))], *pair)) == [("y-0", slot("a", 0))]
    starting = cluster(two, *pair)
    assert moves(replace(starting, replicas={k: replace(r, phase=Phase.LOADING) for k, r in starting.replicas.items()})) == []


def test_what_is_in_a_move_is_not_moved_again_and_its_successor_is_there() -> None:
    state = cluster([worker("a", 3)], ("x", slot("a", 0), 1), ("x", slot("a", 1), 1), ("y", slot("a", 2), 4))
    assert moves(state) == [("x-0", slot("a", 2))]
    moving = replace(state.deployments[ModelUid("x")], moves={0: 1})
    over = replace(state, deployments={**state.deployments, ModelUid("x"): moving})
    assert moves(over) == [("y-0", slot("a", 1))], "a0 holds nothing any more"


def test_what_is_in_back_off_keeps_its_place() -> None:
    state = cluster([worker("a", 2)], ("x", slot("a", 1), 20), ("y", slot("a", 0), 10), ("z", slot("a", 0), 10))
    waiting = {
        k: replace(r, phase=Phase.BACKOFF, reserved_bytes=0, loaded=False) if r.model_uid == "x" else r for k, r in state.replicas.items()
    }
    assert moves(replace(state, replicas=waiting)) == []
    state = cluster([worker("a", 2)], ("x", slot("a", 1), 19), ("y", slot("a", 0), 3), ("w", slot("a", 1), 1))
    waiting = {
        k: replace(r, phase=Phase.BACKOFF, reserved_bytes=0, loaded=False) if r.model_uid == "x" else r for k, r in state.replicas.items()
    }
    assert moves(replace(state, replicas=waiting)) == [], "y would find room beside w, were it not for x"


def test_no_more_moves_than_are_allowed() -> None:
    held = [("x", slot("a", 0), 1), ("y", slot("a", 0), 1), ("z", slot("a", 1), 3), ("v", slot("a", 2), 15)]
    state = cluster([worker("a", 3)], *held)
    assert len(moves(state)) == 3
    assert len(moves(state, 2)) == 2
    assert moves(state, 1) == [("z-0", slot("a", 2))], "half of what stands on a device is nothing gained"
    three = cluster([worker("a", 3)], ("x", slot("a", 0), 6), ("y", slot("a", 0), 7), ("z", slot("a", 1), 16), ("v", slot("a", 2), 15))
    assert moves(three, 1, Room(22 * GIB)) == [], "room for it would take two"
    assert sorted(moves(three, 2, Room(22 * GIB))) == [("x-0", slot("a", 1)), ("y-0", slot("a", 2))]


def test_where_one_finds_no_place_those_before_it_take_none() -> None:
    two = [worker("a", 1), worker("b", 2)]
    state = cluster(two, ("y", slot("a", 0), 4), ("x", slot("a", 0), 1), ("z", slot("b", 0), 15), ("v", slot("b", 1), 6))
    assert moves(held_to(state, x="a")) == [("v-0", slot("b", 0))]
    state = cluster(two, ("y", slot("a", 0), 7), ("x", slot("a", 0), 6), ("z", slot("b", 0), 14), ("v", slot("b", 1), 5), ("big", None, 22))
    plan = plan_rebalance(held_to(state, x="a", big="a"))
    assert [(move.replica_id, move.target) for move in plan.moves] == [("v-0", slot("b", 0))]
    assert plan.unmet == ("big-0, which needs 22 GiB on a device",)


def test_two_of_a_model_on_devices_that_are_emptied_together_do_not_meet() -> None:
    state = cluster(
        [worker("a", 2), worker("b", 2)],
        *[("big", slot("a", 0, 1), 2), ("m", slot("a", 0), 1), ("m", slot("a", 1), 1), ("x", slot("b", 0), 10), ("y", slot("b", 1), 20)],
    )
    assert moves(held_to(state, x="b", y="b")) == [], "b0 alone has room for both"


def test_to_move_within_one_memory_frees_none_of_it() -> None:
    """Two slots of one host: 8 GiB from one to the other leave the host with as little."""
    host = worker("a", 2, free={0: 10 * GIB, 1: 10 * GIB}, domain="host")
    plan = plan_rebalance(cluster([host], ("x", slot("a", 0), 8), ("w", slot("a", 1), 1), ("big", None, 14)))
    assert plan.unmet == ("big-0, which needs 14 GiB on a device",)


def test_room_for_devices_of_one_kind_is_made_among_those() -> None:
    mixed = worker("a", 4)
    names = ("A100", "H100", "A100", "H100")
    mixed = replace(mixed, devices=tuple(replace(d, name=name) for d, name in zip(mixed.devices, names, strict=True)))
    state = cluster([mixed], ("x", slot("a", 0), 9), ("y", slot("a", 3), 14), ("big", None, 20), n_devices=None)
    pair = replace(state.deployments[ModelUid("big")], demands=(Demand(20 * GIB, 2, alike=True),))
    assert moves(replace(state, deployments={**state.deployments, ModelUid("big"): pair})) == [("x-0", slot("a", 1))]


# --- whatever the cluster ---

NAMES = "abc"


@st.composite
def clusters(draw: st.DrawFn) -> Snapshot:
    there = []
    for name in NAMES[: draw(st.integers(1, 3))]:
        there.append(worker(name, draw(st.integers(1, 3)), gib=draw(st.sampled_from([16, 24, 48])), engines=draw(st.sampled_from(ENGINES))))
    left = {d.uuid: usable_bytes(d) for w in there for d in w.devices}
    replicas: list[Replica] = []
    demands: dict[str, list[Demand]] = {}
    for _ in range(draw(st.integers(1, 10))):
        uid, size = draw(st.sampled_from("xyz")), draw(st.integers(1, 20)) * GIB
        on = draw(st.sampled_from(there))
        devices = draw(st.lists(st.sampled_from(on.devices), min_size=1, max_size=2, unique=True))
        fits = "st" in on.engines and all(left[d.uuid] >= size for d in devices) and draw(st.integers(0, 5)) > 0
        where = Slot(on.id, tuple(d.uuid for d in devices)) if fits else None
        kind = draw(st.sampled_from(["free", "free", "free", "pin", "worker"]))
        mine = demands.setdefault(uid, [])
        pin = Slot(on.id, tuple(d.uuid for d in devices)) if kind == "pin" else None
        mine.append(Demand(size, len(devices), pin, on.id if kind == "worker" else None))
        ordinal = len(mine) - 1
        if where is None:
            replicas.append(replica(uid, ordinal, None, 0, phase=Phase.QUEUED, loaded=False, address=None))
        else:
            replicas.append(replica(uid, ordinal, where, size))
            for device in devices:
                left[device.uuid] -= size
    draining = frozenset(w.id for w in there if draw(st.integers(0, 5)) == 0)
    return replace(snapshot(there, replicas, [deployment(uid, each) for uid, each in demands.items()]), draining=draining)


ENGINES = (("st",), ("st",), ("st",), ("other",))


def demand_of(state: Snapshot, one: Replica) -> Demand:
    wanted = state.deployments[one.model_uid]
    return wanted.demands[wanted.ordinals.index(one.ordinal)]


def moved(state: Snapshot, plan: tuple[Relocation, ...]) -> Snapshot:
    """The moves done, and what waits started where it fits now, as the control room does it: pins first."""
    replicas = dict(state.replicas)
    for move in plan:
        replicas[move.replica_id] = replace(replicas[move.replica_id], slot=move.target)
    after = replace(state, replicas=replicas)
    waiting = sorted((r for r in replicas.values() if r.slot is None), key=lambda r: (demand_of(state, r).pin is None, r.id))
    for one in waiting:
        found = plan_launch(after, after.deployments[one.model_uid], [one.ordinal])
        if not isinstance(found, NoFitting):
            (placed,) = found.placements
            started = replace(one, slot=placed.slot, reserved_bytes=placed.reserved_bytes, phase=Phase.READY, loaded=True)
            after = replace(after, replicas={**after.replicas, one.id: started})
    return after


def waits(state: Snapshot) -> int:
    """How many wait and find no room now."""
    waiting = [r for r in state.replicas.values() if r.slot is None]
    return sum(isinstance(plan_launch(state, state.deployments[r.model_uid], [r.ordinal]), NoFitting) for r in waiting)


def held(state: Snapshot) -> Counter[Any]:
    """Bytes by device, of those that hold something."""
    bytes_: Counter[Any] = Counter()
    for r in state.replicas.values():
        for uuid in r.slot.device_uuids if r.slot else ():
            bytes_[uuid] += r.reserved_bytes
    return bytes_


def pairs(state: Snapshot) -> tuple[int, int]:
    """Pairs of replicas of one model on one device, and on one worker."""
    on_device: Counter[Any] = Counter()
    on_worker: Counter[Any] = Counter()
    for r in state.replicas.values():
        if r.slot is not None:
            on_worker[r.model_uid, r.slot.worker_id] += 1
            on_device.update((r.model_uid, uuid) for uuid in r.slot.device_uuids)
    by_device, by_worker = (sum(n * (n - 1) // 2 for n in counts.values()) for counts in (on_device, on_worker))
    return by_device, by_worker


@given(clusters(), st.integers(1, 8))
def test_planning_and_moving_lowers_the_measure_each_time_until_nothing_is_left(state: Snapshot, most: int) -> None:
    state = moved(state, ())  # what fits has started
    for _ in range(40):
        plan = plan_rebalance(state, most)
        assert plan == plan_rebalance(state, most)
        if not plan.moves:
            assert plan.freed == ()
            return
        assert len(plan.moves) <= most
        before, after = waits(state), moved(state, plan.moves)
        assert waits(after) < before or len(held(after)) < len(held(state))
        state = after
    raise AssertionError("it moves for ever")


@given(clusters())
def test_where_nothing_waits_one_plan_is_enough_and_the_second_is_empty(state: Snapshot) -> None:
    state = replace(state, replicas={key: r for key, r in state.replicas.items() if r.slot is not None})
    plan = plan_rebalance(state)
    after = moved(state, plan.moves)
    assert set(held(state)) - set(held(after)) == {uuid for one in plan.freed for uuid in one.device_uuids}
    assert not set(held(after)) - set(held(state)), "no device that was free is taken"
    assert bool(plan.freed) is bool(plan.moves)
    assert all(now <= before for now, before in zip(pairs(after), pairs(state), strict=True))
    assert plan_rebalance(after) == plan_rebalance(replace(after)) == type(plan)()


@given(clusters(), st.randoms())
def test_each_move_is_allowed_and_there_is_room_at_each_step_in_any_order(state: Snapshot, dice: Random) -> None:
    plan = list(plan_rebalance(state).moves)
    assert len({move.replica_id for move in plan}) == len(plan)
    for move in plan:
        one, target = state.replicas[move.replica_id], state.workers[move.target.worker_id]
        demand = demand_of(state, one)
        assert demand.pin is None
        assert demand.worker_id in (None, target.id)
        assert one.slot == move.source
        assert not {move.source.worker_id, target.id} & state.draining
        assert spec().engine in target.engines
        assert len(set(move.target.device_uuids)) == demand.n_devices
        assert not set(move.target.device_uuids) & set(move.source.device_uuids)
    bytes_ = held(state)
    begun: list[Relocation] = []
    left = plan.copy()
    while left or begun:  # successors start and old replicas go as the dice will
        starts = bool(left) and (not begun or dice.random() < 0.7)
        move = (left if starts else begun).pop(dice.randrange(len(left if starts else begun)))
        one = state.replicas[move.replica_id]
        for uuid in (move.target if starts else move.source).device_uuids:
            bytes_[uuid] += demand_of(state, one).bytes_per_device if starts else -one.reserved_bytes
        if starts:
            begun.append(move)
        for worker_ in state.workers.values():
            assert all(bytes_[device.uuid] <= usable_bytes(device) for device in worker_.devices)
