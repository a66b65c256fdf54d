"""The one interface to devices. An inventory is opened once per worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from xinfer.cluster.device import Device
from xinfer.cluster.ids import DeviceUuid


@dataclass(frozen=True, slots=True)
class Usage:
    """Observed now.

    Attributes:
        free_bytes: free memory on the device (for a CPU slot: of its memory domain); None = unknown, the ledger decides.
        utilization: 0..1, or None where the device cannot say.
    """

    free_bytes: int | None
    utilization: float | None = None


class Inventory(Protocol):
    """The devices of one worker."""

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices, by index; fixed for the life of the worker."""

    def usage(self) -> Mapping[DeviceUuid, Usage]:
        """Observed use of each device; blocking, some milliseconds."""

    def environment(self, uuids: Sequence[DeviceUuid]) -> Mapping[str, str]:
        """Variables a replica bound to ``uuids`` starts with.

        Always ``CUDA_VISIBLE_DEVICES`` = the UUIDs (for CPU slots and simulated GPUs a name that no CUDA runtime knows, so
        none is visible), ``XINFER_DEVICE_KIND``, and thread counts for OpenMP, MKL and the tokenizers.
        """

    def process_memory(self, pid: int) -> Mapping[DeviceUuid, int]:
        """Bytes that process ``pid`` holds on each device, where the device can say; else empty."""

    def close(self) -> None:
        """Release the driver."""
