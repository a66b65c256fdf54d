"""CPU slots: each owns a disjoint set of cores and an equal share of the host's memory."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.ids import DeviceUuid, WorkerId
from xinfer.devices.base import Usage
from xinfer.devices.cores import physical, read_topology, split, usable_cores
from xinfer.devices.cpu_formats import CPUINFO, native_dtypes
from xinfer.devices.environment import replica_environment
from xinfer.devices.host_memory import host_memory, memory_domain
from xinfer.errors import ConfigError

_NAMESPACE = uuid.UUID("5f0f8f6e-3f0b-5d0c-9d53-6a1b0c8d7e21")


def derived_uuid(prefix: str, worker_id: WorkerId, index: int) -> DeviceUuid:
    """A uuid that a worker gives a device without one of its own: the same after every restart."""
    return DeviceUuid(f"{prefix}-{uuid.uuid5(_NAMESPACE, f'{prefix}/{worker_id}/{index}')}")


class CpuInventory:
    """``--cpu-slots N``.

    Raises:
        ConfigError: more slots than cores.
    """

    def __init__(self, worker_id: WorkerId, slots: int, cpuinfo: Path = CPUINFO) -> None:
        cores = usable_cores()
        if not 1 <= slots <= len(cores):
            raise ConfigError(
                f"--cpu-slots must be 1 to {len(cores)}, the cores this process may use, not {slots}.",
                param="--cpu-slots",
            )
        topology = read_topology(cores)
        groups = split(topology, slots)
        total, domain, model = host_memory().total // slots, memory_domain(), _model_name()
        dtypes = native_dtypes(cpuinfo)
        self._threads = [physical(topology, group) for group in groups]
        self._devices = tuple(
            Device(
                uuid=derived_uuid("CPU", worker_id, i),
                kind=DeviceKind.CPU,
                index=i,
                name=f"{model}, {self._threads[i]} core{'s' if self._threads[i] > 1 else ''}",
                total_bytes=total,
                memory_domain=domain,
                cores=group,
                dtypes=dtypes,
            )
            for i, group in enumerate(groups)
        )
        self._ticks = _ticks()

    @property
    def devices(self) -> tuple[Device, ...]:
        """One device per slot."""
        return self._devices

    def usage(self) -> Mapping[DeviceUuid, Usage]:
        """Free memory of the whole host (the slots' common domain) and each slot's busy share since the last call."""
        free, before, now = host_memory().available, self._ticks, _ticks()
        self._ticks = now
        return {device.uuid: Usage(free, _busy(before, now, device.cores)) for device in self._devices}

    def environment(self, uuids: Sequence[DeviceUuid]) -> Mapping[str, str]:
        """Threads = the physical cores of the slots named."""
        threads = sum(self._threads[device.index] for device in self._devices if device.uuid in uuids)
        return replica_environment(DeviceKind.CPU, uuids, threads)

    def process_memory(self, pid: int) -> Mapping[DeviceUuid, int]:
        """Empty: main memory belongs to no slot."""
        return {}

    def close(self) -> None:
        """Nothing to release."""


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


def _ticks() -> dict[int, tuple[int, int]]:
    """Logical CPU -> (busy, total) clock ticks since boot."""
    ticks = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            # user nice system idle iowait irq softirq steal; guest time is within user already
            numbers = [int(value) for value in values[:8]]
            ticks[int(name[3:])] = (sum(numbers) - sum(numbers[3:5]), sum(numbers))
    return ticks


def _busy(before: Mapping[int, tuple[int, int]], now: Mapping[int, tuple[int, int]], cores: Sequence[int]) -> float | None:
    pairs = [(before[core], now[core]) for core in cores if core in before and core in now]
    total = sum(new[1] - old[1] for old, new in pairs)
    if total <= 0:
        return None
    return min(1.0, max(0.0, sum(new[0] - old[0] for old, new in pairs) / total))
