"""CPU cores: which this process may use, which share a physical core, and how to divide them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

Topology = Mapping[int, tuple[int, int]]
"""Logical CPU -> (package, physical core)."""

_SYS_CPU = Path("/sys/devices/system/cpu")


def usable_cores() -> tuple[int, ...]:
    """Logical CPUs that this process may run on, ascending."""
    return tuple(sorted(os.sched_getaffinity(0)))


def read_topology(cpus: Sequence[int], root: Path = _SYS_CPU) -> dict[int, tuple[int, int]]:
    """Where each logical CPU sits; one that the kernel does not describe counts as a core of its own."""
    topology = {}
    for cpu in cpus:
        folder = root / f"cpu{cpu}" / "topology"
        try:
            topology[cpu] = (int((folder / "physical_package_id").read_text()), int((folder / "core_id").read_text()))
        except (OSError, ValueError):
            topology[cpu] = (-1, cpu)
    return topology


def split(topology: Topology, n: int) -> list[tuple[int, ...]]:
    """``n`` disjoint, nearly equal groups; neighbours in a group share package and physical core where they can.

    Linux often numbers the second hyper-thread of core 0 far from its first, so that cutting the plain list in two would
    give both halves the same physical cores. ``n`` is at most the number of CPUs.
    """
    ordered = sorted(topology, key=lambda cpu: (*topology[cpu], cpu))
    size, more = divmod(len(ordered), n)
    groups, start = [], 0
    for i in range(n):
        end = start + size + (i < more)
        groups.append(tuple(sorted(ordered[start:end])))
        start = end
    return groups


def physical(topology: Topology, cpus: Sequence[int]) -> int:
    """Physical cores among ``cpus``: the useful number of compute threads."""
    return len({topology[cpu] for cpu in cpus})
