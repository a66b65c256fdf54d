"""Asks the CUDA driver in this process which devices it has: for runtimes that do not say, and for MIG instances."""

from __future__ import annotations

import ctypes
import uuid
from dataclasses import dataclass
from typing import Any

from xinfer.errors import LaunchFailed


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """One CUDA device: identity in NVML's spelling ("GPU-…" or "MIG-…"), name, total bytes."""

    uuid: str
    name: str
    total_bytes: int


def seen_devices(driver: Any = None) -> tuple[SeenDevice, ...]:
    """The devices that CUDA gives this process, in its order.

    Raises:
        LaunchFailed: no driver, or it answers with an error.
    """
    driver = _driver() if driver is None else driver
    _check(driver.cuInit(0), "cuInit")
    count = ctypes.c_int()
    _check(driver.cuDeviceGetCount(ctypes.byref(count)), "cuDeviceGetCount")
    return tuple(_seen(driver, index) for index in range(count.value))


def _seen(driver: Any, index: int) -> SeenDevice:
    device = ctypes.c_int()
    _check(driver.cuDeviceGet(ctypes.byref(device), index), "cuDeviceGet")
    name = ctypes.create_string_buffer(256)
    _check(driver.cuDeviceGetName(name, len(name), device), "cuDeviceGetName")
    total = ctypes.c_size_t()
    _check(driver.cuDeviceTotalMem_v2(ctypes.byref(total), device), "cuDeviceTotalMem")
    whole, part = (ctypes.c_ubyte * 16)(), (ctypes.c_ubyte * 16)()
    _check(driver.cuDeviceGetUuid(ctypes.byref(whole), device), "cuDeviceGetUuid")
    # The second version names the MIG instance where the first names the GPU that it is a part of.
    _check(driver.cuDeviceGetUuid_v2(ctypes.byref(part), device), "cuDeviceGetUuid_v2")
    prefix = "GPU-" if bytes(whole) == bytes(part) else "MIG-"
    return SeenDevice(prefix + str(uuid.UUID(bytes=bytes(part))), name.value.decode(errors="replace"), int(total.value))


def free_bytes(driver: Any = None) -> int:
    """Free memory of this process's first device, all processes counted; opens its context, as the engine is about to.

    Raises:
        LaunchFailed: as ``seen_devices``.
    """
    driver = _driver() if driver is None else driver
    _check(driver.cuInit(0), "cuInit")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check(driver.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    _check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
    try:
        _check(driver.cuCtxPushCurrent_v2(context), "cuCtxPushCurrent")
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        _check(driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), "cuMemGetInfo")
        _check(driver.cuCtxPopCurrent_v2(ctypes.byref(context)), "cuCtxPopCurrent")
        return int(free.value)
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)


def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise LaunchFailed("No CUDA driver (libcuda.so.1) is on this machine.") from error


def _check(status: int, call: str) -> None:
    if status != 0:
        raise LaunchFailed(f"The CUDA driver refused {call} with error {status}.")
