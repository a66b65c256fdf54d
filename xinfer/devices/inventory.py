"""Open the one inventory that a worker has: simulated GPUs, CPU slots, or the host's GPUs."""

from __future__ import annotations

from collections.abc import Mapping

from xinfer.cluster.ids import WorkerId
from xinfer.devices.base import Inventory
from xinfer.devices.cpu import CpuInventory
from xinfer.devices.nvml import open_nvml
from xinfer.devices.simulated import SimulatedInventory
from xinfer.errors import ConfigError
from xinfer.settings import WorkerSettings


def open_inventory(settings: WorkerSettings, worker_id: WorkerId, env: Mapping[str, str]) -> Inventory:
    """Simulated GPUs if asked for, else CPU slots if asked for, else NVIDIA GPUs if there are any, else one CPU slot.

    Args:
        env: the worker's environment, read for ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER``.

    Raises:
        ConfigError: contradicting or impossible settings.
    """
    if settings.simulate_gpus is not None:
        if settings.cpu_slots:
            raise ConfigError("--simulate-gpus and --cpu-slots exclude each other: a worker has one kind of device.", param="--cpu-slots")
        return SimulatedInventory(worker_id, settings.simulate_gpus)
    if settings.cpu_slots:
        return CpuInventory(worker_id, settings.cpu_slots)
    return open_nvml(env) or CpuInventory(worker_id, 1)
