"""What the process holds and gives back, seen from outside: limits are set in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from xinfer.engines import host_limit

MIB = 1024**2


def run(code: str) -> str:
    source = f"from xinfer.engines import host_limit\nMIB = 1024 ** 2\n{code}"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout


def test_resident_memory_and_its_peak() -> None:
    before = host_limit.resident()
    assert host_limit.reset_peak()
    block = np.ones(64 * MIB, dtype=np.uint8)
    assert host_limit.resident() - before > 60 * MIB
    del block
    assert host_limit.peak() - before > 60 * MIB
    assert host_limit.reset_peak()
    assert host_limit.peak() < before + 60 * MIB


def test_above_the_limit_memory_is_refused_and_below_it_there_is_more() -> None:
    told = run(
        "host_limit.limit_private(host_limit.private() + 64 * MIB)\n"
        "for size in (100, 20):\n"
        "    try:\n"
        "        bytearray(size * MIB)\n"
        "        print('had')\n"
        "    except MemoryError:\n"
        "        print('refused')\n"
    )
    assert told.split() == ["refused", "had"]


def test_a_hard_limit_from_outside_is_kept() -> None:
    told = run(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (900 * MIB, 900 * MIB))\n"
        "host_limit.limit_private(2000 * MIB)\n"
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0] // MIB)\n"
    )
    assert told.strip() == "900"


def test_trim_gives_back_what_lies_free_in_the_middle_of_the_heap() -> None:
    told = run(
        "pieces = [bytes(100_000) for _ in range(1000)]\n"
        "kept = pieces[::10]\n"
        "del pieces\n"
        "before = host_limit.resident()\n"
        "host_limit.trim()\n"
        "print((before - host_limit.resident()) // MIB)\n"
    )
    assert int(told) > 40
