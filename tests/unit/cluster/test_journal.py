"""What has changed between two snapshots, numbered."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import deployment, replica, slot, snapshot, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ModelUid, ReplicaId, WorkerId
from xinfer.cluster.journal import Journal, Kind
from xinfer.cluster.replica import Phase
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import WorkerState

A = WorkerId("a")


def small() -> Snapshot:
    return snapshot([worker("a"), worker("b")], [replica("m", 0, slot("a", 0))], [deployment("m", [Demand(1)])])


def told(journal: Journal) -> list[tuple[int, Kind, str, bool]]:
    """Number, kind, key, whether it is still there."""
    return [(c.number, c.kind, c.key, c.after is not None) for c in journal.all()]


def test_workers_before_models_before_replicas_each_with_a_number() -> None:
    journal = Journal(Snapshot())
    journal.advance(small(), 3.0)
    kinds = [Kind.WORKER, Kind.WORKER, Kind.MODEL, Kind.REPLICA]
    assert told(journal) == [(n, kind, key, True) for n, (kind, key) in enumerate(zip(kinds, ["a", "b", "m", "m-0"], strict=True), 1)]
    assert {c.at for c in journal.all()} == {3.0}
    journal.advance(Snapshot(), 4.0)
    assert [(key, there) for _, _, key, there in told(journal)[4:]] == [("a", False), ("b", False), ("m", False), ("m-0", False)]


def test_a_heartbeat_is_no_change_and_a_state_or_a_drain_is() -> None:
    journal, now = Journal(small()), small()
    beaten = replace(now, workers={**now.workers, A: replace(now.workers[A], last_seen=99.0, free_bytes={})})
    journal.advance(beaten, 1.0)
    assert journal.number == 0
    suspect = replace(beaten, workers={**beaten.workers, A: replace(beaten.workers[A], state=WorkerState.SUSPECT)})
    journal.advance(suspect, 2.0)
    journal.advance(replace(suspect, draining=frozenset({A})), 3.0)
    assert told(journal) == [(1, Kind.WORKER, "a", True), (2, Kind.WORKER, "a", True)]


def test_an_equal_row_in_a_new_table_is_no_change() -> None:
    now = small()
    journal = Journal(now)
    journal.advance(replace(now, replicas=dict(now.replicas), deployments={ModelUid("m"): replace(now.deployments[ModelUid("m")])}), 1.0)
    assert journal.number == 0


def test_what_came_since_a_number_or_none_where_it_is_no_longer_known() -> None:
    now = small()
    journal = Journal(now, kept=3)
    for n in range(5):
        now = replace(now, replicas={ReplicaId("m-0"): replica("m", 0, slot("a", 0), restarts=n + 1)})
        journal.advance(now, float(n))
    assert [[c.number for c in journal.since(n) or ()] for n in (2, 3, 4, 5)] == [[3, 4, 5], [4, 5], [5], []]
    assert (journal.since(1), journal.since(6), journal.since(-1)) == (None, None, None)


@given(st.lists(st.dictionaries(st.integers(0, 4), st.sampled_from(list(Phase))), max_size=12), st.integers(0, 12))
def test_who_applies_the_changes_has_the_rows(states: list[dict[int, Phase]], start: int) -> None:
    journal, seen = Journal(Snapshot()), {}
    for at, rows in enumerate(states):
        if at == start:
            mark, copy = journal.number, dict(seen)
        seen = {ReplicaId(f"m-{n}"): replica("m", n, slot("a", 0), phase=phase) for n, phase in rows.items()}
        journal.advance(Snapshot(replicas=seen), float(at))
    if start >= len(states):
        return
    for change in journal.since(mark) or ():
        if change.after is None:
            del copy[change.key]
        else:
            copy[change.key] = change.after
    assert copy == seen
