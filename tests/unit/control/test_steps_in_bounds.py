"""A step does a bounded amount of work and says that more is due; what waits longest has its turn first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control.clusters import GIB, Cluster, deployment, starts, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.replica import Phase
from xinfer.cluster.worker import WorkerState
from xinfer.control.events import WorkerJoined
from xinfer.control.liveness import JUDGE_EVERY, LOSSES_PER_STEP
from xinfer.control.reconcile import STARTS_PER_STEP

LETTERS = "abcdefghij"


def until_done(cluster: Cluster, most: int = 100) -> int:
    """Ticks that follow at once; how many."""
    for count in range(most):
        if not cluster.snapshot.behind:
            return count
        cluster.tick(after=0.0)
    raise AssertionError("it never ends")


def lost(cluster: Cluster) -> int:
    return sum(w.state is WorkerState.LOST for w in cluster.snapshot.workers.values())


def test_many_workers_that_fall_silent_at_once_are_given_up_a_few_in_a_step() -> None:
    cluster = Cluster(*(worker(name) for name in LETTERS))
    for _ in range(4):
        cluster.tick(after=2.0)
    assert {w.state for w in cluster.snapshot.workers.values()} == {WorkerState.SUSPECT}
    cluster.tick(after=2.0)
    assert lost(cluster) == LOSSES_PER_STEP
    assert cluster.snapshot.behind
    until_done(cluster)
    assert lost(cluster) == len(LETTERS)


def test_the_rest_of_them_is_given_up_at_once_however_lately_all_were_judged() -> None:
    cluster = Cluster(*(worker(name) for name in LETTERS))
    cluster.tick(after=JUDGE_EVERY)
    silent = {key: replace(w, last_seen=cluster.now - 60.0) for key, w in cluster.snapshot.workers.items()}
    cluster.snapshot = replace(cluster.snapshot, workers=silent)
    cluster.tick(after=0.0)
    until_done(cluster)
    assert lost(cluster) == len(LETTERS)


def test_nothing_is_started_on_a_worker_that_is_about_to_be_given_up() -> None:
    cluster = Cluster(*(worker(name, gpus=1) for name in LETTERS[:5])).launched(deployment("m", Demand(20 * GIB)))
    silent = {key: replace(w, last_seen=cluster.now - 60.0) for key, w in cluster.snapshot.workers.items()}
    cluster.snapshot = replace(cluster.snapshot, workers=silent)
    assert starts(cluster.tick()) == []
    assert cluster.snapshot.behind
    until_done(cluster)
    assert cluster.replica().phase is Phase.QUEUED


def test_many_replicas_that_are_due_start_a_few_in_a_step_and_the_rest_at_once_after_it() -> None:
    count = 2 * STARTS_PER_STEP + 5
    cluster = Cluster(worker("a", gpus=1, gib=1000)).launched(deployment("m", *[Demand(GIB)] * count))
    begun = starts(cluster.do(WorkerJoined(worker("a", gpus=1, gib=1000))))
    assert len(begun) == STARTS_PER_STEP
    assert cluster.snapshot.behind
    while cluster.snapshot.behind:
        begun += starts(cluster.tick(after=0.0))
    assert len({key for key, _ in begun}) == count


def test_ticks_that_follow_at_once_judge_now_and_then() -> None:
    quiet = worker("b")
    cluster = Cluster(worker("a", gpus=1, gib=1000), quiet).launched(deployment("m", *[Demand(GIB)] * (6 * STARTS_PER_STEP)))
    cluster.do(WorkerJoined(worker("a", gpus=1, gib=1000)))
    cluster.tick(after=JUDGE_EVERY)
    assert cluster.snapshot.behind
    silent = replace(cluster.snapshot.workers[quiet.id], last_seen=cluster.now - 60.0)
    cluster.snapshot = replace(cluster.snapshot, workers={**cluster.snapshot.workers, quiet.id: silent})
    assert starts(cluster.tick(after=JUDGE_EVERY / 2))
    assert cluster.snapshot.behind
    assert cluster.snapshot.workers[quiet.id].state is WorkerState.ALIVE
    cluster.tick(after=JUDGE_EVERY / 2)
    assert cluster.snapshot.workers[quiet.id].state is WorkerState.LOST


@pytest.mark.parametrize("models", [2, 5])
def test_models_without_a_place_are_planned_one_in_a_step(models: int) -> None:
    cluster = Cluster(worker("a", gib=1000), worker("b", gib=1000))
    for n in range(models):
        cluster.launched(deployment(f"m{n}", Demand(GIB)))
    for _ in range(5):
        cluster.tick(after=2.0)
        cluster.beat("b")
    until_done(cluster)
    assert {r.slot.worker_id for r in cluster.snapshot.replicas.values() if r.slot is not None} == {"b"}


def test_what_can_be_placed_has_its_turn_however_many_others_wait_for_room() -> None:
    """Only those at the head of the rows had a turn in each tick, for ever, if they were many and their wait was over again."""
    cluster = Cluster(worker("a", gpus=1, gib=1000))
    for n in range(60):
        cluster.launched(deployment(f"large{n}", Demand(15 * GIB)))
    cluster.launched(deployment("small", Demand(GIB)))
    cluster.do(WorkerJoined(worker("b", gpus=1)))
    for _ in range(100):
        cluster.tick(after=0.5)
        cluster.beat("b")
    small = cluster.replica(ReplicaId("small-0"))
    assert small.slot is not None
    assert small.slot.worker_id == "b"


def test_a_heartbeat_keeps_what_is_known_of_the_room() -> None:
    cluster = Cluster(worker("a")).launched()
    before = cluster.snapshot
    cluster.beat(after=1.0, running=cluster.running("a"))
    assert before.floor is not None
    assert cluster.snapshot.floor is not None
    assert cluster.snapshot.floor.standings is before.floor.standings
