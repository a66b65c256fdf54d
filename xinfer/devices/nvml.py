"""NVIDIA GPUs and their MIG devices, through NVML; the only file that knows pynvml.

NVML is asked, not CUDA: it needs no context, so looking takes no GPU memory. Its order is the PCI bus. Integers in
``CUDA_VISIBLE_DEVICES`` are read in that order, as ``nvidia-smi`` prints them; CUDA itself would rank by speed unless
``CUDA_DEVICE_ORDER=PCI_BUS_ID``, so on a host with different GPUs another order is refused where it would matter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import pynvml

from xinfer.catalog.spec import Dtype
from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.ids import DeviceUuid
from xinfer.devices.base import Usage
from xinfer.devices.cores import usable_cores
from xinfer.devices.environment import replica_environment
from xinfer.devices.host_memory import memory_domain
from xinfer.devices.visible import Gpu, select
from xinfer.errors import ConfigError

logger = logging.getLogger(__name__)

_MAX_THREADS = 8  # per GPU: the CPU only tokenises and launches kernels there


@dataclass(frozen=True, slots=True)
class _Part:
    """Something that a process can be bound to: a GPU, or one of its MIG devices."""

    uuid: str
    handle: Any


class NvmlInventory:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` leaves."""

    def __init__(self, nvml: Any, parts: Sequence[_Part]) -> None:
        self._nvml = nvml
        self._handles = {DeviceUuid(part.uuid): part.handle for part in parts}
        self._threads = min(_MAX_THREADS, max(1, len(usable_cores()) // max(1, len(parts))))
        self._devices = tuple(self._describe(i, part) for i, part in enumerate(parts))
        self._open = True

    @property
    def devices(self) -> tuple[Device, ...]:
        """Indices count after ``CUDA_VISIBLE_DEVICES``."""
        return self._devices

    def usage(self) -> Mapping[DeviceUuid, Usage]:
        """Unknown for a GPU that has fallen off the bus; MIG devices know no utilisation."""
        return {uuid: Usage(self._free(uuid), self._utilization(uuid)) for uuid in self._handles}

    def environment(self, uuids: Sequence[DeviceUuid]) -> Mapping[str, str]:
        """The uuids as the driver spells them, which CUDA understands in any order."""
        return replica_environment(DeviceKind.GPU, uuids, self._threads * len(uuids))

    def process_memory(self, pid: int) -> Mapping[DeviceUuid, int]:
        """Empty where the driver cannot say: in another pid namespace than the driver's, or without permission."""
        held: dict[DeviceUuid, int] = {}
        for uuid, handle in self._handles.items():
            try:
                running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLError:
                continue
            # One process may be listed once per MIG compute instance.
            figures = [entry.usedGpuMemory for entry in running if entry.pid == pid and entry.usedGpuMemory is not None]
            if figures:
                held[uuid] = sum(figures)
        return held

    def close(self) -> None:
        """Release the driver; a second call does nothing."""
        if self._open:
            self._open = False
            _shutdown(self._nvml)

    def _describe(self, index: int, part: _Part) -> Device:
        domain: str
        try:
            total, domain = int(self._nvml.nvmlDeviceGetMemoryInfo(part.handle).total), part.uuid
        except self._nvml.NVMLError:
            # GPUs that share the host's memory report none of their own.
            total, domain = int(psutil.virtual_memory().total), memory_domain()
        try:
            name = _text(self._nvml.nvmlDeviceGetName(part.handle))
        except self._nvml.NVMLError:
            name = "NVIDIA GPU"
        return Device(DeviceUuid(part.uuid), DeviceKind.GPU, index, name, total, domain, dtypes=self._dtypes(part))

    def _dtypes(self, part: _Part) -> tuple[Dtype, ...]:
        """By compute capability: fast float16 since 7.0, bfloat16 since 8.0."""
        try:
            major, _ = self._nvml.nvmlDeviceGetCudaComputeCapability(part.handle)
        except self._nvml.NVMLError:
            return (Dtype.FLOAT32,)
        halves = ((7, Dtype.FLOAT16), (8, Dtype.BFLOAT16))
        return (Dtype.FLOAT32, *(dtype for since, dtype in halves if major >= since))

    def _free(self, uuid: DeviceUuid) -> int | None:
        try:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handles[uuid]).free)
        except self._nvml.NVMLError:
            return None

    def _utilization(self, uuid: DeviceUuid) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetUtilizationRates(self._handles[uuid]).gpu) / 100
        except self._nvml.NVMLError:
            return None


def open_nvml(env: Mapping[str, str], nvml: Any = pynvml) -> NvmlInventory | None:
    """The visible GPUs of this host, or None if there are none or there is no driver.

    Raises:
        ConfigError: integers in ``CUDA_VISIBLE_DEVICES`` that CUDA would count in another order than the driver.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        logger.info("no NVIDIA driver: %s", error)
        return None
    try:
        parts = _visible(env, nvml)
    except nvml.NVMLError as error:
        logger.warning("the NVIDIA driver lists no GPUs: %s", error)
        parts = []
    except ConfigError:
        _shutdown(nvml)
        raise
    if not parts:
        _shutdown(nvml)
        return None
    return NvmlInventory(nvml, parts)


def _visible(env: Mapping[str, str], nvml: Any) -> list[_Part]:
    cards = _cards(nvml)
    value = env.get("CUDA_VISIBLE_DEVICES")
    if value is not None and not value.lstrip().startswith(("GPU-", "MIG-")) and len({card.name for card in cards if card.parts}) > 1:
        order = env.get("CUDA_DEVICE_ORDER")
        if order not in (None, "PCI_BUS_ID"):
            raise ConfigError(
                f"CUDA_DEVICE_ORDER must be PCI_BUS_ID, not {order}, where GPUs differ and CUDA_VISIBLE_DEVICES={value} "
                "counts them; or name the GPUs by their uuids (nvidia-smi -L).",
                param="CUDA_DEVICE_ORDER",
            )
        if order is None:
            logger.warning("CUDA_VISIBLE_DEVICES=%s is read in PCI order, as nvidia-smi lists the GPUs", value)
    parts = {part.uuid: part for card in cards for part in card.parts}
    return [parts[uuid] for uuid in select(value, [Gpu(card.uuid, tuple(part.uuid for part in card.parts)) for card in cards])]


@dataclass(frozen=True, slots=True)
class _Card:
    """One physical GPU; a lost one keeps its place in the order and has no parts."""

    uuid: str
    name: str
    parts: tuple[_Part, ...]


def _cards(nvml: Any) -> list[_Card]:
    cards: list[tuple[tuple[int, ...], _Card]] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        # The driver's own order is the bus's, though it promises that for no reboot.
        place: tuple[int, ...] = cards[-1][0] if cards else ()
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            pci = nvml.nvmlDeviceGetPciInfo(handle)
            place = (int(pci.domain), int(pci.bus), int(pci.device))
            uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            name = _text(nvml.nvmlDeviceGetName(handle))
            parts = tuple(_mig_devices(nvml, handle)) if _mig_enabled(nvml, handle) else (_Part(uuid, handle),)
        except nvml.NVMLError as error:
            logger.warning("GPU %d is left out: %s", index, error)
            uuid, name, parts = "", "", ()
        cards.append((place, _Card(uuid, name, parts)))
    return [card for _, card in sorted(cards, key=lambda item: item[0])]


def _mig_enabled(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        return False


def _mig_devices(nvml: Any, handle: Any) -> list[_Part]:
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            found.append(_Part(_text(nvml.nvmlDeviceGetUUID(part)), part))
        except nvml.NVMLError:
            continue  # places without an instance answer "not found"
    return found


def _shutdown(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        logger.debug("nvmlShutdown: %s", error)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
