"""What counts as an answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from xinfer.bench.load import Kind
from xinfer.bench.verdict import Failure, by_kind, judge


def scores(*pairs: tuple[int, Any], **more: Any) -> bytes:
    return orjson.dumps({"results": [{"index": i, "relevance_score": s} for i, s in pairs], **more})


def vectors(*values: Any, **more: Any) -> bytes:
    return orjson.dumps({"data": [{"index": i, "embedding": value} for i, value in enumerate(values)], **more})


def test_one_finite_score_per_document_in_any_order_is_right() -> None:
    assert judge(Kind.RERANK, 2, 200, scores((1, 0.9), (0, 0.1))).failure is None


@pytest.mark.parametrize(
    "body",
    [
        scores((0, 0.9)),
        scores((0, 0.9), (0, 0.1)),
        scores((0, 0.9), (2, 0.1)),
        scores((0, 0.9), (1, None)),
        scores((0, 0.9), (1, "0.1")),
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": 1e999}]}',
        b'{"results": [1, 2]}',
        b'{"results": null}',
        b"[]",
        b"no",
    ],
)
def test_scores_that_are_wrong(body: bytes) -> None:
    assert judge(Kind.RERANK, 2, 200, body).failure is not None


def test_vectors_as_floats_and_as_base64_are_right() -> None:
    assert judge(Kind.EMBEDDING, 2, 200, vectors([0.5, 1], [1, 2])).failure is None
    assert judge(Kind.EMBEDDING, 1, 200, vectors("AACAPwAAAEA=")).failure is None


@pytest.mark.parametrize(
    "body", [vectors([1.0]), vectors([1.0], []), vectors([1.0], [None]), vectors([1.0], [1.0, 2.0]), vectors([1.0], "!!"), b'{"data": 1}']
)
def test_vectors_that_are_wrong(body: bytes) -> None:
    assert judge(Kind.EMBEDDING, 2, 200, body).failure is not None


def test_another_status_is_a_failure_that_quotes_the_server() -> None:
    failure = judge(Kind.RERANK, 1, 429, b"too  many\nrequests").failure
    assert failure == Failure("HTTP 429", "HTTP 429: too many requests")


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({"usage": {"total_tokens": 9}}, 9),
        ({"usage": {"prompt_tokens": 8}}, 8),
        ({"meta": {"tokens": {"input_tokens": 7}}}, 7),
        ({"usage": {"total_tokens": 0}}, None),
        ({"usage": None, "meta": 1}, None),
    ],
)
def test_tokens_as_servers_report_them(more: dict[str, Any], tokens: int | None) -> None:
    assert judge(Kind.RERANK, 1, 200, scores((0, 0.5), **more)).tokens == tokens


def test_failures_by_kind_with_the_first_sentence() -> None:
    found = by_kind([Failure("a", "first"), Failure("b", "other"), Failure("a", "second")])
    assert found == [("a", 2, "first"), ("b", 1, "other")]
