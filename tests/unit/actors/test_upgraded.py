"""What an upgrade is said to have done, from the cluster before and after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.nouns import replica, slot, snapshot, worker
from xinfer.actors.messages import Upgraded
from xinfer.cluster.ids import Epoch, ReplicaId, WorkerId
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState
from xinfer.control.workers import back_from
from xinfer.errors import UpgradeRefused

A = WorkerId("a")


def cluster(me: Worker, pids: dict[int, int | None]) -> Snapshot:
    replicas = [replica("m", i, slot("a", 0), pid=pid) for i, pid in pids.items()]
    return snapshot([me, worker("b")], [*replicas, replica("m", 9, slot("b", 0), pid=99)])


def test_kept_is_what_has_its_pid_restarted_what_has_another_and_what_is_gone_is_neither() -> None:
    old = replace(worker("a"), version="1.0", started_at=1.0)
    before = cluster(old, {0: 10, 1: 11, 2: 12, 3: None})
    after = cluster(replace(old, version="1.1", started_at=2.0, epoch=Epoch(7)), {0: 10, 1: 21, 3: 13})
    done = Upgraded.between(before, after, A)
    assert (done.worker_id, done.address, done.version_before, done.version) == (A, old.address, "1.0", "1.1")
    assert (done.kept, done.restarted) == ((ReplicaId("m-0"),), (ReplicaId("m-1"),))


def test_a_worker_that_came_back_with_the_old_code_was_not_upgraded() -> None:
    old = replace(worker("a"), started_at=1.0)
    with pytest.raises(UpgradeRefused, match="goes on with the old"):
        Upgraded.between(cluster(old, {}), cluster(replace(old, epoch=Epoch(7)), {}), A)


def test_back_is_who_has_joined_anew_and_lives() -> None:
    old = worker("a")
    assert not back_from(cluster(old, {}), old)
    assert back_from(cluster(replace(old, epoch=Epoch(old.epoch + 1)), {}), old)
    assert not back_from(cluster(replace(old, epoch=Epoch(old.epoch + 1), state=WorkerState.LOST), {}), old)
    assert not back_from(snapshot([worker("b")]), old)
