"""Percentiles, rates, shares."""

from __future__ import annotations

import pytest

from xinfer.bench.figures import Done, latencies, overlapping, percentile, shares, summarise
from xinfer.bench.readings import Reading
from xinfer.bench.verdict import Failure


def test_percentiles_lie_between_the_nearest_ranks() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], q) for q in (0.0, 0.5, 0.9, 1.0)] == pytest.approx([1.0, 2.5, 3.7, 4.0])
    assert percentile([5.0], 0.99) == 5.0


def test_latencies_are_in_milliseconds_and_empty_for_none() -> None:
    assert latencies([]) == {}
    found = latencies([0.003, 0.001, 0.002])
    assert (found["mean"], found["p50"], found["max"]) == pytest.approx((2.0, 2.0, 3.0))


def test_only_right_answers_count_for_rates_and_latency() -> None:
    done = [Done(0, 1, 20, tokens=100), Done(0, 2, 20, tokens=100), Done(0, 60, 20, Failure("HTTP 500", "it broke"))]
    found = summarise(done, 4.0)
    assert (found.requests, found.ok, found.documents) == (3, 2, 40)
    assert (found.documents_per_second, found.requests_per_second, found.tokens_per_second) == (10.0, 0.5, 50.0)
    assert found.latency["max"] == pytest.approx(2000)
    assert found.failures == (("HTTP 500", 1, "it broke"),)


def test_tokens_are_left_out_unless_every_answer_says_them() -> None:
    assert summarise([Done(0, 1, 1, tokens=5), Done(0, 1, 1)], 1.0).tokens_per_second is None
    assert summarise([], 1.0).tokens_per_second is None


def test_a_request_counts_by_its_part_inside_the_window() -> None:
    done = [Done(0.0, 10.0, 600), Done(5.0, 7.0, 20), Done(5.0, 6.0, 99, Failure("x", "x")), Done(20.0, 21.0, 50)]
    assert overlapping(done, 5.0, 10.0) == pytest.approx((300 + 20) / 5)


def figures(**values: float) -> dict[str, float]:
    return {f"{name}_total": value for name, value in values.items()}


def test_what_each_replica_did_between_two_readings() -> None:
    before = Reading(10.0, {"m-0": figures(items=100, busy_seconds=5, tokens=0, batches=0)})
    after = Reading(
        20.0,
        {
            "m-0": figures(items=175, busy_seconds=14, tokens=1000, batches=30, padded_tokens=1200, oom_splits=0),
            "m-1": figures(items=25, busy_seconds=2),
        },
    )
    first, second = shares(before, after, {"m-0": "10.0.0.1@0"})
    assert (first.slot, first.documents, first.share) == ("10.0.0.1@0", 75, 0.75)
    assert (first.busy, first.busy_share, first.batch_seconds) == pytest.approx((9.0, 0.9, 0.3))
    assert (first.padding, first.batch_tokens) == pytest.approx((1.2, 40.0))
    assert (second.share, second.busy_share) == pytest.approx((0.25, 0.2))
    assert (second.padding, second.batches, second.batch_seconds, second.oom_splits) == (None, None, None, None)


def test_without_padded_tokens_a_batch_is_measured_in_true_ones() -> None:
    after = Reading(1.0, {"m-0": figures(items=1, tokens=100, batches=4, busy_seconds=1)})
    (only,) = shares(Reading(0.0), after, {})
    assert (only.padding, only.batch_tokens) == (None, 25.0)
