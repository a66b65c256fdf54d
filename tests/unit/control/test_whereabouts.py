"""Which workers are asked for what a replica wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.nouns import deployment, replica, slot, snapshot, worker
from xinfer.cluster.deployment import Demand
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.replica import Phase
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.whereabouts import whereabouts
from xinfer.errors import ModelNotFound, ReplicaNotFound

M = ModelUid("m")


def cluster() -> Snapshot:
    failed = replica("m", 1, None, phase=Phase.FAILED)
    return snapshot(
        [worker("a"), worker("b"), worker("c")],
        [replica("m", 0, slot("b", 0)), replace(failed, avoid=(slot("a", 0), slot("c", 0))), replica("m", 2, None, phase=Phase.QUEUED)],
        [deployment("m", [Demand(1)] * 3)],
    )


@pytest.mark.parametrize(
    ("name", "found", "workers"),
    [
        ("0", "m-0", ["b"]),
        ("m-0", "m-0", ["b"]),
        ("1", "m-1", ["c", "a"]),  # where it failed, the last place first
        ("2", "m-2", ["a", "b", "c"]),  # it waits, and may have been anywhere
        ("7", "m-7", ["a", "b", "c"]),  # gone
    ],
)
def test_where_it_is_or_was(name: str, found: str, workers: list[str]) -> None:
    place = whereabouts(cluster(), M, name)
    assert place.id == found
    assert [w.host or w.id for w in place.workers] == [worker(each).host or worker(each).id for each in workers]
    assert (place.replica is None) == (name == "7")


@pytest.mark.parametrize("name", ["", "x", "m-", "-1", "²", "1" * 10, "n-0", "../0", "0/../../x"])
def test_no_replica_can_have_that_name(name: str) -> None:
    with pytest.raises(ReplicaNotFound):
        whereabouts(cluster(), M, name)
    with pytest.raises(ModelNotFound):
        whereabouts(cluster(), ModelUid("gone"), name)


def test_a_replica_of_another_model_is_not_shown_under_this_one() -> None:
    other = snapshot([worker("a")], [replica("m-1", 0, slot("a", 0))], [deployment("m-1", [Demand(1)])])
    assert whereabouts(other, ModelUid("m-1"), "0").replica is not None
    with pytest.raises(ModelNotFound):
        whereabouts(other, M, "m-1-0")
