"""Shards on the wire: what goes in comes out, and one buffer carries it."""

from __future__ import annotations

import numpy as np
from xoscar.serialization import serialize

from xinfer.actors.packing import pack_items, pack_result, unpack_items, unpack_result
from xinfer.batching.work import BatchTrace, ShardResult, WorkItem
from xinfer.errors import InvalidItem

ITEMS = (
    WorkItem("query", "document", instruction="rank"),
    WorkItem("query", "", raw=True),
    WorkItem((1, 2, 3), prompt="query"),
    WorkItem("\u0000\U0001f40d"),
)


def test_items_come_back_as_they_were() -> None:
    assert unpack_items(pack_items(ITEMS)) == ITEMS


def test_a_query_that_many_documents_share_travels_once() -> None:
    query = "q" * 1000
    packed = pack_items(tuple(WorkItem(query, str(n)) for n in range(100)))
    assert len(packed) < 3 * len(query)


def test_an_answer_comes_back_with_its_errors() -> None:
    values = np.array([[1.0, 2.0], [np.nan, np.nan]], dtype=np.float32)
    failed = InvalidItem("too odd", param="documents", at=1)
    sent = ShardResult(
        values,
        np.array([3, 0], dtype=np.int32),
        np.array([True, False]),
        errors=((1, failed),),
        batches=(BatchTrace(1, 3, 3, 3, 0.5),),
        busy_seconds=2.0,
        meta={"scores_depend_on_batch": True},
    )
    got = unpack_result(pack_result(sent))
    np.testing.assert_array_equal(got.values, sent.values)
    assert got.values.dtype == np.float32
    assert (got.tokens.tolist(), got.truncated.tolist()) == ([3, 0], [True, False])
    assert (got.batches, got.busy_seconds, got.meta) == (sent.batches, sent.busy_seconds, sent.meta)
    ((row, error),) = got.errors
    assert (row, type(error), error.message, error.param, error.details) == (1, InvalidItem, "too odd", "documents", {"at": 1})


def test_the_transport_sees_one_buffer() -> None:
    """Left to itself it pickles every document alone, and a shard of 100 goes through a thread."""
    items = tuple(WorkItem("query", str(n)) for n in range(100))
    assert len(serialize(pack_items(items))[1]) == 1
    assert len(serialize(items)[1]) >= len(items)
