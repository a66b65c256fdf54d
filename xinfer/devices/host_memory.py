"""Main memory that this process may use: the host's, or less where a control group says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

_UNLIMITED = 2**60  # version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes: the most this process and its children may use, and what is left of it now."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class _Version:
    controller: str
    mount: str
    limit: str
    used: str
    cache: str


_V2 = _Version("", "", "memory.max", "memory.current", "inactive_file")
_V1 = _Version("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def host_memory(proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> HostMemory:
    """The tightest of the host and every control group (version 1 or 2) above this process.

    File cache that the kernel would give back first counts as free, as it does in the host's own figure.
    """
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    for limit, used in _groups(proc, mount):
        if limit < min(total, _UNLIMITED):
            total = limit
        if limit < _UNLIMITED:
            available = min(available, max(0, limit - used))
    return HostMemory(total, available)


def memory_domain() -> str:
    """A name that all processes of this host agree on, in containers too: they draw on one memory."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = os.uname().nodename
    return f"host:{boot}"


def _groups(proc: Path, mount: Path) -> Iterator[tuple[int, int]]:
    """(limit, used without reclaimable cache) of every group that has a limit, from this process's own up to the root."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for version in (_V2, _V1):
            if version.controller in controllers.split(","):
                # In a container the path may be the host's and not exist here; then only the mount's root answers.
                for parent in (PurePosixPath(path), *PurePosixPath(path).parents):
                    group = _read(mount / version.mount / str(parent).lstrip("/"), version)
                    if group is not None:
                        yield group


def _read(folder: Path, version: _Version) -> tuple[int, int] | None:
    try:
        limit = (folder / version.limit).read_text().strip()
        if limit == "max":
            return None
        used = int((folder / version.used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return int(limit), max(0, used - int(stat.get(version.cache, 0)))
