"""Readings: what an interval was like, from the figures at both its ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from xinfer.actors.messages import ReplicaStats
from xinfer.actors.sampling import STAY, Sampler, reading, replica_reading
from xinfer.cluster.ids import DeviceUuid, Epoch, ReplicaId
from xinfer.cluster.reading import DeviceReading
from xinfer.devices.base import Usage
from xinfer.errors import ReplicaLost
from xinfer.serving.histogram import Distribution

R = ReplicaId("m-0")
BOUNDS = (0.1, 0.2, 0.4)


def stats(epoch: int = 1, items: int = 0, busy: float = 0.0, stays: tuple[int, int, int, int] | None = None) -> ReplicaStats:
    histograms = {} if stays is None else {STAY: Distribution(BOUNDS, stays, 0.0)}
    return ReplicaStats(R, Epoch(epoch), queued_items=items % 7, items=items, tokens=items * 100, busy_seconds=busy, histograms=histograms)


def test_rates_and_quantiles_are_of_the_interval_alone() -> None:
    it = replica_reading(stats(items=30, busy=11.0, stays=(10, 4, 4, 0)), stats(items=10, busy=10.0, stays=(10, 0, 0, 0)), 2.0)
    assert (it.queue, it.calls, it.items, it.tokens, it.busy) == (2, 4.0, 10.0, 1000.0, 0.5)
    assert (it.p50, it.p95) == (pytest.approx(0.2), pytest.approx(0.38))


def test_a_life_that_began_within_it_has_come_from_nothing() -> None:
    assert replica_reading(stats(epoch=2, items=8), stats(epoch=1, items=100), 2.0).items == 4.0
    assert replica_reading(stats(items=8), None, 2.0).items == 4.0


def test_where_nothing_was_answered_there_is_no_latency() -> None:
    it = replica_reading(stats(stays=(5, 0, 0, 0)), stats(stays=(5, 0, 0, 0)), 2.0)
    assert (it.calls, it.p50, it.p95) == (0.0, None, None)
    assert replica_reading(stats(), None, 2.0).p50 is None


def test_busy_is_never_more_than_all_the_time() -> None:
    assert replica_reading(stats(busy=9.0), stats(busy=1.0), 2.0).busy == 1.0


def test_devices_as_they_say_themselves() -> None:
    found = reading(5.0, 2.0, {DeviceUuid("g"): Usage(free_bytes=3, utilization=0.5)}, [], {})
    assert (found.at, found.devices, found.replicas) == (5.0, (DeviceReading(DeviceUuid("g"), 0.5, 3),), ())


class Machine:
    """An inventory that answers, and replicas that may not."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.items = 0
        self.down = False

    def usage(self) -> Mapping[DeviceUuid, Usage]:
        return {DeviceUuid("g"): Usage(free_bytes=1, utilization=None)}

    def stats(self) -> list[object]:
        async def one() -> ReplicaStats:
            if self.down:
                raise ReplicaLost("gone")
            return stats(items=self.items)

        return [one()]


def test_a_replica_that_does_not_answer_is_left_out_and_counts_anew() -> None:
    machine = Machine()
    sampler = Sampler(machine, machine.stats, lambda: 9.0, lambda: machine.seconds)  # type: ignore[arg-type]
    for seconds, items, down in [(0.0, 10, False), (2.0, 20, False), (4.0, 30, True), (8.0, 50, False)]:
        machine.seconds, machine.items, machine.down = seconds, items, down
        asyncio.run(sampler.sample())
    assert [[r.items for r in it.replicas] for it in sampler.readings.all()] == [[5.0], [5.0], [], [12.5]]
    assert {it.at for it in sampler.readings.all()} == {9.0}
