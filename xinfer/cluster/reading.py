"""What a worker measures every two seconds of its devices and replicas, and the last fifteen minutes of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from xinfer.cluster.ids import DeviceUuid, Epoch, ReplicaId

EVERY = 2.0
KEPT = 450
"""Fifteen minutes."""


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """A device at one moment.

    Attributes:
        utilization: 0..1; free_bytes: as the driver says. None where the device cannot say.
    """

    uuid: DeviceUuid
    utilization: float | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaReading:
    """A replica over one interval.

    Attributes:
        queue: documents or texts that wait or run in it, at the end of the interval.
        calls: shards answered a second; ``items`` and ``tokens``: computed a second.
        busy: 0..1, share of the time inside the model.
        p50, p95: seconds from a shard's arrival to its answer; None where none was answered.
    """

    replica_id: ReplicaId
    epoch: Epoch
    queue: int = 0
    calls: float = 0.0
    items: float = 0.0
    tokens: float = 0.0
    busy: float = 0.0
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """All of a worker.

    Attributes:
        at: unix seconds, the end of the interval.
    """

    at: float
    devices: tuple[DeviceReading, ...] = ()
    replicas: tuple[ReplicaReading, ...] = ()


class Readings:
    """The last readings of one worker; its owner adds, it asks no clock."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Reading] = deque(maxlen=kept)

    @property
    def last(self) -> Reading | None:
        """The newest one."""
        return self._kept[-1] if self._kept else None

    def add(self, reading: Reading) -> None:
        """Keep one more; the oldest goes."""
        self._kept.append(reading)

    def all(self) -> tuple[Reading, ...]:
        """Oldest first."""
        return tuple(self._kept)
