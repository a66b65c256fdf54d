"""Main memory of this process: what it holds, what the kernel lets it have, giving back what malloc keeps. Linux."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes in memory now, those of libraries included."""
    return int(_STATM.read_text().split()[1]) * _PAGE


def private() -> int:
    """Bytes that RLIMIT_DATA counts: private writable mappings, touched or not."""
    return _status("VmData")


def peak() -> int:
    """Most bytes in memory at once since the process began, or since ``reset_peak``."""
    return _status("VmHWM")


def reset_peak() -> bool:
    """Begin a new peak at what is in memory now; False where the kernel does not offer it."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def limit_private(size: int) -> None:
    """Have the kernel refuse private memory above ``size`` bytes; a limit set from outside stays if it is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def trim() -> None:
    """Give the kernel the pages that malloc keeps free; nothing where the C library is not glibc."""
    found = _malloc_trim()
    if found is not None:
        found(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return found


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
