"""Prometheus text to what each replica did."""

from __future__ import annotations

import pytest

from xinfer.bench.readings import POINTS, SHORTEST_PAUSE, Reading, growth, lanes, parse, pause

TEXT = """
# HELP xinfer_http_requests_total HTTP requests answered.
# TYPE xinfer_http_requests_total counter
xinfer_http_requests_total{method="POST",route="/v1/rerank",status="200"} 9.0
# HELP xinfer_replica_items_total Documents.
# TYPE xinfer_replica_items_total counter
xinfer_replica_items_total{model="ce",replica="ce-0"} 40.0
xinfer_replica_items_total{model="other",replica="other-0"} 7.0
# TYPE xinfer_replica_wait_seconds histogram
xinfer_replica_wait_seconds_bucket{le="0.1",model="ce",replica="ce-0"} 3.0
xinfer_replica_wait_seconds_bucket{le="+Inf",model="ce",replica="ce-0"} 4.0
xinfer_replica_wait_seconds_sum{model="ce",replica="ce-0"} 0.25
xinfer_replica_wait_seconds_count{model="ce",replica="ce-0"} 4.0
# TYPE xinfer_replica_queued_items gauge
xinfer_replica_queued_items{model="ce",replica="ce-0"} 5.0
# TYPE xinfer_dispatch_replica_shards_total counter
xinfer_dispatch_replica_shards_total{model="ce",replica="ce-0"} 5.0
"""


def test_only_what_replicas_report_is_read() -> None:
    found = parse(TEXT, 3.0, ["ce"])
    assert found.at == 3.0
    assert found.replicas == {"ce-0": {"items_total": 40.0, "wait_seconds_sum": 0.25, "wait_seconds_count": 4.0, "queued_items": 5.0}}
    assert set(parse(TEXT, 3.0).replicas) == {"ce-0", "other-0"}


@pytest.mark.parametrize("text", ["", "vllm:num_requests_running 3\n", "<html>\n<p>not found</p>"])
def test_another_servers_page_has_no_replicas(text: str) -> None:
    assert parse(text, 0.0).replicas == {}


def test_counters_grow_gauges_do_not_and_a_restart_counts_from_zero() -> None:
    before = Reading(0.0, {"a": {"items_total": 100.0, "queued_items": 9.0}, "b": {"items_total": 50.0}})
    after = Reading(1.0, {"a": {"items_total": 130.0, "queued_items": 1.0}, "b": {"items_total": 5.0}, "c": {"items_total": 2.0}})
    assert growth(before, after) == {"a": {"items_total": 30.0}, "b": {"items_total": 5.0}, "c": {"items_total": 2.0}}


def busy(at: float, **seconds: float) -> Reading:
    return Reading(at, {name: {"busy_seconds_total": value} for name, value in seconds.items()})


def test_a_lane_holds_the_busy_share_of_each_interval() -> None:
    found = lanes([busy(10.0, a=1.0), busy(10.5, a=1.5), busy(11.5, a=1.75)], {"a": "a on 10.0.0.1@0"})
    assert [(lane.name, lane.points) for lane in found] == [("a on 10.0.0.1@0", ((0.5, 1.0), (1.5, 0.25)))]


def test_a_batch_that_began_earlier_is_drawn_where_it_ran() -> None:
    # One batch of 0.8 s ends in the second interval of 0.5 s: 0.3 s of it belong to the first.
    (lane,) = lanes([busy(0.0, a=0.0), busy(0.5, a=0.0), busy(1.0, a=0.8)], {})
    assert [at for at, _ in lane.points] == [0.5, 1.0]
    assert [share for _, share in lane.points] == pytest.approx([0.6, 1.0])


def test_a_replica_met_on_the_way_starts_with_its_second_reading() -> None:
    (lane,) = lanes([busy(0.0), busy(1.0, a=500.0), busy(2.0, a=500.5)], {})
    assert lane.points == ((2.0, 0.5),)


def test_a_long_run_is_read_less_often_and_a_short_one_often_enough_to_draw() -> None:
    def readings(seconds: float) -> int:
        at, count = 0.0, 0
        while at < seconds:
            at, count = at + pause(at), count + 1
        return count

    assert readings(10) == 10 / SHORTEST_PAUSE
    assert POINTS < readings(100) < 100
    assert readings(600) < 150
