"""A worker's readings of its devices and replicas: what the interval was like, from the figures at both its ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from xinfer.actors.messages import ReplicaStats
from xinfer.cluster.ids import DeviceUuid, ReplicaId
from xinfer.cluster.reading import EVERY, DeviceReading, Reading, Readings, ReplicaReading
from xinfer.devices.base import Inventory, Usage
from xinfer.serving.histogram import Distribution

STAY = "stay_seconds"


def reading(
    now: float,
    seconds: float,
    usage: Mapping[DeviceUuid, Usage],
    stats: Sequence[ReplicaStats],
    before: Mapping[ReplicaId, ReplicaStats],
) -> Reading:
    """One reading.

    Args:
        seconds: length of the interval.
        stats: of every replica that answers, now; ``before``: the same at the start of the interval, where there was one.
    """
    return Reading(
        now,
        tuple(DeviceReading(uuid, it.utilization, it.free_bytes) for uuid, it in usage.items()),
        tuple(replica_reading(it, before.get(it.replica_id), seconds) for it in stats),
    )


def replica_reading(now: ReplicaStats, before: ReplicaStats | None, seconds: float) -> ReplicaReading:
    """Rates over the interval; a life that began within it has come from nothing."""
    then = before if before is not None and before.epoch == now.epoch else ReplicaStats(now.replica_id, now.epoch)
    long = max(seconds, 1e-3)
    stays = _stays(now)
    lately = None if stays is None else stays.since(_stays(then))
    return ReplicaReading(
        replica_id=now.replica_id,
        epoch=now.epoch,
        queue=now.queued_items,
        calls=0.0 if lately is None else lately.count / long,
        items=max(0, now.items - then.items) / long,
        tokens=max(0, now.tokens - then.tokens) / long,
        busy=min(1.0, max(0.0, now.busy_seconds - then.busy_seconds) / long),
        p50=None if lately is None else lately.quantile(0.5),
        p95=None if lately is None else lately.quantile(0.95),
    )


def _stays(stats: ReplicaStats) -> Distribution | None:
    return stats.histograms.get(STAY)


@dataclass(slots=True)
class Sampler:
    """Takes a reading every two seconds and keeps the last fifteen minutes.

    Args:
        stats: asks the replicas that are ready; one that does not answer raises and is left out.
        clock: unix seconds; ``timer``: monotonic seconds.
    """

    inventory: Inventory
    stats: Callable[[], Sequence[Awaitable[ReplicaStats]]]
    clock: Callable[[], float]
    timer: Callable[[], float]
    readings: Readings = field(default_factory=Readings)
    _before: dict[ReplicaId, ReplicaStats] = field(default_factory=dict)
    _since: float | None = None

    async def run(self) -> None:
        """For ever; an interval that was missed is not made up for."""
        while True:
            await self.sample()
            await asyncio.sleep(EVERY)

    async def sample(self) -> None:
        """Take one reading."""
        usage = await asyncio.to_thread(self.inventory.usage)
        answers = await asyncio.gather(*self.stats(), return_exceptions=True)
        stats = [answer for answer in answers if isinstance(answer, ReplicaStats)]
        now = self.timer()
        seconds = EVERY if self._since is None else now - self._since
        self.readings.add(reading(self.clock(), seconds, usage, stats, self._before))
        self._before, self._since = {it.replica_id: it for it in stats}, now
