"""What the supervisor tells those who watch."""

from __future__ import annotations

from dataclasses import replace

from tests.support.nouns import replica, slot, snapshot, worker
from xinfer.actors.watch import Watch
from xinfer.cluster.ids import Epoch, WorkerId
from xinfer.cluster.reading import Reading
from xinfer.cluster.snapshot import Snapshot

A, B = WorkerId("a"), WorkerId("b")


def watched() -> tuple[Watch, Snapshot]:
    state = replace(snapshot([worker("a"), worker("b")], [replica("m", 0, slot("a", 0))]), epoch=Epoch(7))
    return Watch(state), state


def test_only_what_came_after_what_is_known() -> None:
    watch, state = watched()
    assert not watch.is_new(Epoch(7), 0, 0)
    watch.heard(A, Reading(1.0))
    watch.heard(B, Reading(2.0))
    watch.moved_on(replace(state, replicas={}), 3.0)
    assert watch.is_new(Epoch(7), 0, 0)
    news = watch.news(Epoch(7), 0, 1)
    assert (news.epoch, news.number, news.serial, [c.key for c in news.changes or ()]) == (7, 1, 2, ["m-0"])
    assert [(worker_id, reading.at) for worker_id, reading in news.readings] == [("b", 2.0)]
    assert not watch.is_new(Epoch(7), 1, 2)
    assert watch.news(Epoch(7), 1, 2).changes == ()


def test_another_epoch_knows_nothing_and_gets_every_last_reading() -> None:
    watch, _ = watched()
    watch.heard(A, Reading(1.0))
    watch.heard(A, Reading(3.0))
    assert watch.is_new(Epoch(6), 0, 1)
    news = watch.news(Epoch(6), 0, 99)
    assert (news.changes, [reading.at for _, reading in news.readings]) == (None, [3.0])


def test_workers_that_have_left_are_forgotten_and_a_beat_without_reading_says_nothing() -> None:
    watch, state = watched()
    watch.heard(A, Reading(1.0))
    watch.heard(B, Reading(1.0))
    watch.heard(B, None)
    watch.moved_on(replace(state, workers={A: state.workers[A]}), 2.0)
    assert [worker_id for worker_id, _ in watch.news(Epoch(-1), 0, 0).readings] == ["a"]
