"""Simulated GPUs: as many as asked for, of any memory; replicas on them compute on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.ids import DeviceUuid, WorkerId
from xinfer.devices.base import Usage
from xinfer.devices.cores import physical, read_topology, split, usable_cores
from xinfer.devices.cpu import derived_uuid
from xinfer.devices.environment import replica_environment
from xinfer.settings import SimulatedGpus


class SimulatedInventory:
    """``--simulate-gpus 4x24GiB``.

    The cores are divided among the devices; with more devices than cores each device gets one core, in turn, and one thread.
    """

    def __init__(self, worker_id: WorkerId, gpus: SimulatedGpus) -> None:
        cores = usable_cores()
        topology = read_topology(cores)
        groups = split(topology, gpus.count) if gpus.count <= len(cores) else [(cores[i % len(cores)],) for i in range(gpus.count)]
        self._threads = [physical(topology, group) for group in groups]
        uuids = [derived_uuid("SIM", worker_id, i) for i in range(gpus.count)]
        self._devices = tuple(
            Device(
                uuid=uuids[i],
                kind=DeviceKind.SIMULATED,
                index=i,
                name="Simulated GPU",
                total_bytes=gpus.total_bytes,
                memory_domain=uuids[i],
                cores=group,
            )
            for i, group in enumerate(groups)
        )

    @property
    def devices(self) -> tuple[Device, ...]:
        """The simulated GPUs."""
        return self._devices

    def usage(self) -> Mapping[DeviceUuid, Usage]:
        """Unknown on purpose: what the ledger has reserved is all that a simulated GPU holds."""
        return {device.uuid: Usage(None) for device in self._devices}

    def environment(self, uuids: Sequence[DeviceUuid]) -> Mapping[str, str]:
        """Threads = the physical cores behind the devices named, a shared one counted once."""
        named = [device for device in self._devices if device.uuid in uuids]
        cores = {core for device in named for core in device.cores}
        threads = min(len(cores), sum(self._threads[device.index] for device in named))
        return replica_environment(DeviceKind.SIMULATED, uuids, threads)

    def process_memory(self, pid: int) -> Mapping[DeviceUuid, int]:
        """Empty: nothing is on a device."""
        return {}

    def close(self) -> None:
        """Nothing to release."""
