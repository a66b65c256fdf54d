"""The ranking gives what a full scan would give, at the cost of a few workers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import GIB, replica, slot, snapshot, worker
from xinfer.cluster.ids import DeviceUuid, ModelUid
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot, floor_of
from xinfer.cluster.worker import Worker
from xinfer.placement.local import LocalUsage
from xinfer.placement.score import Candidate, Ranking, Scorer, Shape

M = ModelUid("m")


def local(state: Snapshot) -> LocalUsage:
    return LocalUsage(floor_of(state), M)


def charge(index: LocalUsage, candidate: Candidate, need: int) -> None:
    index.charge(Slot(candidate.worker.id, tuple(d.uuid for d in candidate.devices)), need)


def scan(scorer: Scorer, workers: list[Worker], shape: Shape, avoid: frozenset[DeviceUuid]) -> Candidate | None:
    found = [scorer.best(w, shape, avoid) for w in workers]
    return min((c for c in found if c is not None), key=lambda c: c.score, default=None)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30)), min_size=1, max_size=5),
    shape=st.builds(Shape, st.integers(1, 8).map(lambda n: n * GIB), st.integers(1, 3)),
    avoided=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=4),
    avoid_at=st.sets(st.integers(0, 11)),
    there=st.lists(st.tuples(st.sampled_from("mx"), st.integers(0, 4), st.integers(0, 3), st.integers(1, 9)), max_size=8),
    shared=st.booleans(),
    shut=st.sets(st.sampled_from("abcde"), max_size=2),
    others=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4), st.integers(0, 3), st.integers(1, 9)), max_size=6),
)
def test_the_heap_agrees_with_a_full_scan(
    sizes: list[tuple[int, int]],
    shape: Shape,
    avoided: list[tuple[int, int]],
    avoid_at: set[int],
    there: list[tuple[str, int, int, int]],
    shared: bool,
    shut: set[str],
    others: list[tuple[int, int, int, int]],
) -> None:
    """Whatever runs already, whether or not workers share their memory, and whatever other shapes of the same plan take."""
    domain = "host" if shared else None
    workers = [
        worker("abcde"[i], gpus, gib=gib, domain=domain, free=dict.fromkeys(range(gpus), 20 * GIB) if shared else None)
        for i, (gpus, gib) in enumerate(sizes)
    ]
    rows = [replica(model, n, slot("abcde"[w], d), size * GIB, loaded=not shared) for n, (model, w, d, size) in enumerate(there)]
    index = local(snapshot(workers, rows))
    scorer = Scorer(index, M)
    allowed = [w for w in workers if w.id not in shut]
    ranking = Ranking(scorer, shape, lambda w: w.id not in shut)
    names = frozenset(DeviceUuid(f"{'abcde'[w]}-{i}") for w, i in avoided)
    for step in range(12):
        avoid = names if step in avoid_at else frozenset()
        for at, w, d, size in others:
            if at == step and w < len(workers) and d < len(workers[w].devices):
                index.charge(slot("abcde"[w], d), size * GIB)
        expected, got = scan(scorer, allowed, shape, avoid), ranking.take(avoid)
        assert (got and got.score) == (expected and expected.score)
        if got is None:
            return
        charge(index, got, shape.need)


@pytest.mark.parametrize("n_devices", [1, 4])
def test_the_cost_is_a_worker_or_two_per_replica(n_devices: int) -> None:
    workers = [worker("a", 8, address=f"10.0.{i // 250}.{i % 250}:1") for i in range(1000)]
    distinct = [
        Worker(id=f"{i}", address=w.address, epoch=w.epoch, devices=worker(f"w{i}", 8, address="x").devices)  # type: ignore[arg-type]
        for i, w in enumerate(workers)
    ]
    index = local(snapshot(distinct))
    scorer, asked = Scorer(index, M), Counter[str]()

    def may_take(one: Worker) -> bool:
        asked[one.id] += 1
        return True

    ranking = Ranking(scorer, Shape(GIB, n_devices), may_take)
    assert scorer.looked_at == 0, "the standing of each worker is enough"
    assert ranking.take() is not None
    assert asked.total() <= 2, "others cannot be better"
    for _ in range(2000):
        candidate = ranking.take()
        assert candidate is not None
        charge(index, candidate, GIB)
    assert scorer.looked_at <= 2000 * 8 * 3
    assert set(asked.values()) == {1}


def test_a_group_prefers_devices_without_the_model() -> None:
    w = worker("a", 4)
    index = local(snapshot([w]))
    index.charge(slot("a", 0), GIB)
    best = Scorer(index, M).best(w, Shape(GIB, 2))
    assert best is not None
    assert [d.index for d in best.devices] == [1, 2]
