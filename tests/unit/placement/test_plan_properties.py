"""What holds for every cluster: memory is never overdrawn, pins are kept, equal devices fill evenly, equal input gives equal plans."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import GIB, deployment, replica, slot, snapshot, worker
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.ids import Address, ReplicaId, WorkerId
from xinfer.cluster.ledger import usable_bytes
from xinfer.cluster.replica import Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.placement.filters import Refusal
from xinfer.placement.plan import NoFitting, Placed, Plan, plan_launch

NAMES = "abcd"


@st.composite
def workers(draw: st.DrawFn) -> list[Worker]:
    found = []
    for name in NAMES[: draw(st.integers(1, 4))]:
        gpus = draw(st.integers(1, 4))
        shared = draw(st.booleans())
        known = draw(st.booleans())
        seen = draw(st.integers(0, 24)) * GIB
        free = {i: seen if shared else draw(st.integers(0, 24)) * GIB for i in range(gpus)} if known else None
        state = draw(st.sampled_from([WorkerState.ALIVE] * 4 + [WorkerState.SUSPECT]))
        found.append(worker(name, gpus, free=free, domain=f"host-{name}" if shared else None, state=state))
    return found


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Snapshot, Deployment]:
    there = draw(workers())
    replicas: list[Replica] = []
    for i in range(draw(st.integers(0, 5))):
        on = draw(st.sampled_from(there))
        index = draw(st.integers(0, len(on.devices) - 1))
        size = draw(st.integers(0, 12)) * GIB
        replicas.append(replica(draw(st.sampled_from(["m", "x"])), 100 + i, slot(on.id, index), size, loaded=draw(st.booleans())))
    demands = []
    for _ in range(draw(st.integers(1, 6))):
        need = draw(st.integers(1, 12)) * GIB
        on = draw(st.sampled_from(there))
        indices = draw(st.lists(st.integers(0, len(on.devices) - 1), min_size=1, max_size=2, unique=True))
        choice = draw(st.sampled_from(["free", "free", "pin", "worker"]))
        demands.append(
            Demand(need, len(indices), slot(on.id, *indices) if choice == "pin" else None, on.id if choice == "worker" else None)
        )
    return snapshot(there, replicas), deployment("m", demands)


def placements(plan: Plan | NoFitting) -> tuple[Placed, ...]:
    return plan.placements


@given(clusters())
def test_memory_is_never_overdrawn(case: tuple[Snapshot, Deployment]) -> None:
    """Counted here by hand, not by the ledger: no charged device, and no domain, ends above its limit."""
    state, wanted = case
    reserved: Counter[str] = Counter()
    unloaded: Counter[str] = Counter()
    domain = {d.uuid: d.memory_domain for w in state.workers.values() for d in w.devices}
    for r in state.replicas.values():
        assert r.slot is not None
        for uuid in r.slot.device_uuids:
            reserved[uuid] += r.reserved_bytes
            unloaded[domain[uuid]] += 0 if r.loaded else r.reserved_bytes
    placed = placements(plan_launch(state, wanted))
    for p in placed:
        for uuid in p.slot.device_uuids:
            reserved[uuid] += p.reserved_bytes
            unloaded[domain[uuid]] += p.reserved_bytes
    for p in placed:
        on = state.workers[p.slot.worker_id]
        assert on.state is WorkerState.ALIVE
        for uuid in p.slot.device_uuids:
            device = on.device(uuid)
            assert device is not None
            assert reserved[uuid] <= usable_bytes(device)
            if uuid in on.free_bytes:
                assert unloaded[domain[uuid]] <= on.free_bytes[uuid]
            assert p.free_after >= 0


@given(clusters())
def test_pins_counts_and_workers_are_kept_exactly(case: tuple[Snapshot, Deployment]) -> None:
    state, wanted = case
    plan = plan_launch(state, wanted)
    by_ordinal = dict(zip(wanted.ordinals, wanted.demands, strict=True))
    for p in plan.placements:
        demand = by_ordinal[p.ordinal]
        assert p.reserved_bytes == demand.bytes_per_device
        assert len(set(p.slot.device_uuids)) == len(p.slot.device_uuids) == demand.n_devices
        assert demand.pin in (None, p.slot)
        assert demand.worker_id in (None, p.slot.worker_id)
    assert [p.ordinal for p in plan.placements] == sorted(p.ordinal for p in plan.placements)
    if isinstance(plan, Plan):
        assert [p.ordinal for p in plan.placements] == list(wanted.ordinals)
    else:
        assert len(plan.placements) < len(wanted.demands)
        assert all(isinstance(r, Refusal) and r.reason and r.hint for r in plan.refusals)
        assert plan.to_error().message == plan.reason


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 40))
def test_equal_devices_differ_by_one_at_most(hosts: int, gpus: int, replicas: int) -> None:
    state = snapshot([worker("abcde"[i], gpus, gib=2000) for i in range(hosts)])
    plan = plan_launch(state, deployment("m", [Demand(GIB)] * replicas))
    assert isinstance(plan, Plan)
    counts = Counter(p.slot for p in plan.placements)
    every = [counts[slot("abcde"[i], g)] for i in range(hosts) for g in range(gpus)]
    assert sum(every) == replicas
    assert max(every) - min(every) <= 1
    per_worker = Counter(p.slot.worker_id for p in plan.placements)
    assert max(per_worker.values()) - min(per_worker[WorkerId("abcde"[i])] for i in range(hosts)) <= 1


@given(clusters(), st.randoms(use_true_random=False))
def test_equal_clusters_give_equal_plans_in_whatever_order_they_are_told(case: tuple[Snapshot, Deployment], dice: object) -> None:
    state, wanted = case
    hosts, replicas = list(state.workers.items()), list(state.replicas.items())
    dice.shuffle(hosts)  # type: ignore[attr-defined]
    dice.shuffle(replicas)  # type: ignore[attr-defined]
    again = replace(state, workers=dict(hosts), replicas=dict(replicas))
    assert plan_launch(again, wanted) == plan_launch(state, wanted)


@given(clusters())
def test_a_replica_planned_alone_fits_where_all_were_planned(case: tuple[Snapshot, Deployment]) -> None:
    """Once placed, each can be planned anew on its own: the others' charges do not drive it out."""
    state, wanted = case
    plan = plan_launch(state, wanted)
    there = dict(state.replicas)
    for p in plan.placements:
        made = replica("m", p.ordinal, p.slot, p.reserved_bytes, loaded=False, address=Address("x:1"))
        there[ReplicaId(made.id)] = made
    settled = replace(state, replicas=there)
    for p in plan.placements:
        assert isinstance(plan_launch(settled, wanted, [p.ordinal]), Plan)
