"""Devices: a GPU, a simulated GPU or a share of the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xinfer.catalog.spec import Dtype
from xinfer.cluster.ids import DeviceUuid


class DeviceKind(StrEnum):
    """What stands behind a device."""

    GPU = "gpu"
    CPU = "cpu"
    SIMULATED = "simulated"


class Division(StrEnum):
    """How an engine puts one replica on several devices."""

    LAYERS = "layers"  # consecutive layers on consecutive devices, of whatever kind each
    TENSOR = "tensor"  # a part of every layer on each, computed at once: devices of one kind


@dataclass(frozen=True, slots=True)
class Device:
    """One device of one worker.

    Attributes:
        uuid: identity; survives reboots and renumbering.
        kind: GPU, CPU share or simulated GPU.
        index: position on the worker, what people write as ``gpu_idx``.
        name: product name.
        total_bytes: memory of the device, or the CPU slot's share of the host's.
        memory_domain: devices of equal domain draw on one physical memory (all CPU slots of a host); a GPU is its own domain.
        cores: CPU cores that replicas on this device are bound to; empty means no binding.
        dtypes: number formats that it computes in by itself; "auto" chooses among these.
    """

    uuid: DeviceUuid
    kind: DeviceKind
    index: int
    name: str
    total_bytes: int
    memory_domain: str
    cores: tuple[int, ...] = ()
    dtypes: tuple[Dtype, ...] = (Dtype.FLOAT32,)


def kept_under(name: str, n_devices: int) -> str:
    """The name by which figures of a replica on ``n_devices`` such devices are kept: ``2× NVIDIA H100``."""
    return name if n_devices == 1 else f"{n_devices}× {name}"


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What a loaded replica says it sees: the proof of placement.

    Attributes:
        uuid: the device's identity as the engine's runtime reports it.
        name: the device's name as the runtime reports it.
        kind: "gpu", "cpu" or "simulated".
        used_bytes: memory of this replica on the device after warm-up, measured.
        cores: the affinity that the process really has.
        threads: compute threads of the engine.
    """

    uuid: DeviceUuid
    name: str
    kind: DeviceKind
    used_bytes: int
    cores: tuple[int, ...] = ()
    threads: int = 0
