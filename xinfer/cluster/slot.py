"""A slot: where exactly one replica lives."""

from __future__ import annotations

from dataclasses import dataclass

from xinfer.cluster.ids import DeviceUuid, WorkerId


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """(worker, devices): devices in the order the engine sees them, at least one, none twice."""

    worker_id: WorkerId
    device_uuids: tuple[DeviceUuid, ...]
