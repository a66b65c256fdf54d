"""The driver's answers, from a driver made up for the test."""

from __future__ import annotations

import ctypes
import uuid
from typing import Any

import pytest

from xinfer.engines import cuda_driver
from xinfer.errors import LaunchFailed

GPU = uuid.UUID("11111111-2222-3333-4444-555555555555")
PART = uuid.UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")


class Driver:
    """Two devices: a whole GPU, and an instance of it."""

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: ctypes.c_int) -> int:
        name.value = b"NVIDIA H100"
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, device: ctypes.c_int) -> int:
        total._obj.value = 80 << 30
        return 0

    def cuDeviceGetUuid(self, found: Any, device: ctypes.c_int) -> int:
        found._obj[:] = list(GPU.bytes)
        return 0

    def cuDeviceGetUuid_v2(self, found: Any, device: ctypes.c_int) -> int:
        found._obj[:] = list((PART if device.value == 1 else GPU).bytes)
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: ctypes.c_int) -> int:
        self.held = True
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: ctypes.c_int) -> int:
        self.held = False
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        free._obj.value = 70 << 30
        return 0


def test_free_memory_is_asked_for_within_a_context_that_is_given_back() -> None:
    driver = Driver()
    assert cuda_driver.free_bytes(driver) == 70 << 30
    assert driver.held is False
    driver.cuMemGetInfo_v2 = lambda free, total: 2  # type: ignore[method-assign]
    with pytest.raises(LaunchFailed, match=r"cuMemGetInfo with error 2"):
        cuda_driver.free_bytes(driver)
    assert driver.held is False


def test_whole_gpus_and_instances_are_spelled_as_nvml_spells_them() -> None:
    whole, part = cuda_driver.seen_devices(Driver())
    assert whole == cuda_driver.SeenDevice(f"GPU-{GPU}", "NVIDIA H100", 80 << 30)
    assert part.uuid == f"MIG-{PART}"


def test_a_driver_that_refuses_is_named() -> None:
    driver = Driver()
    driver.cuInit = lambda flags: 100  # type: ignore[method-assign]
    with pytest.raises(LaunchFailed, match=r"cuInit with error 100"):
        cuda_driver.seen_devices(driver)
