"""What this process sees of the host it runs on: the report of engines that compute on the CPU."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import DeviceUuid

SIMULATED = "Simulated GPU"


def visible_devices() -> tuple[str, ...]:
    """The names in this process's own CUDA_VISIBLE_DEVICES."""
    return tuple(name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip())


def cores() -> tuple[int, ...]:
    """The cores that the kernel lets this process run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def cpu_name() -> str:
    """Product name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def reports(kind: DeviceKind, threads: int) -> tuple[DeviceReport, ...]:
    """One report per CPU slot or simulated GPU bound to this process; its resident memory is shared out evenly."""
    names = visible_devices() or ("",)
    used = psutil.Process().memory_info().rss // len(names)
    shown = SIMULATED if kind is DeviceKind.SIMULATED else cpu_name()
    return tuple(DeviceReport(DeviceUuid(name), shown, kind, used, cores(), threads) for name in names)
