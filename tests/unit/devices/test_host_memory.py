"""Limits of control groups, both versions, in files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from xinfer.devices.host_memory import host_memory, memory_domain

GIB = 2**30


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class Memory:
        total = 64 * GIB
        available = 48 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    return tmp_path / "cgroup"


def v2(folder: Path, limit: str, used: int = 0, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\n")


def v1(folder: Path, limit: int, used: int = 0, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {cache}\n")


def read(proc: Path, mount: Path) -> tuple[int, int]:
    memory = host_memory(proc, mount)
    return memory.total // GIB, memory.available // GIB


def test_without_groups_the_host_counts(proc: Path, tmp_path: Path) -> None:
    assert read(proc, tmp_path) == (64, 48)
    proc.write_text("0::/\n")
    assert read(proc, tmp_path) == (64, 48)


def test_version_2_takes_the_tightest_above_and_gives_cache_back(proc: Path, tmp_path: Path) -> None:
    proc.write_text("0::/pod/container\n")
    v2(tmp_path / "pod/container", "max")
    v2(tmp_path / "pod", str(16 * GIB), used=10 * GIB, cache=4 * GIB)
    assert read(proc, tmp_path) == (16, 10)


def test_version_1(proc: Path, tmp_path: Path) -> None:
    proc.write_text("5:cpu,memory:/docker/x\n1:name=systemd:/y\n0::/\n")
    v1(tmp_path / "memory/docker/x", 8 * GIB, used=3 * GIB, cache=GIB)
    v1(tmp_path / "memory", 2**63 - 4096, used=40 * GIB)
    assert read(proc, tmp_path) == (8, 6)


def test_a_path_of_the_hosts_falls_back_to_the_mounts_root(proc: Path, tmp_path: Path) -> None:
    proc.write_text("5:memory:/not/visible/here\n")
    v1(tmp_path / "memory", 4 * GIB, used=5 * GIB)
    assert read(proc, tmp_path) == (4, 0)


def test_a_limit_above_the_host_changes_nothing(proc: Path, tmp_path: Path) -> None:
    proc.write_text("0::/a\n")
    v2(tmp_path / "a", str(100 * GIB), used=GIB)
    assert read(proc, tmp_path) == (64, 48)


def test_the_real_one_is_sane_and_the_domain_is_the_hosts() -> None:
    memory = host_memory()
    assert 0 < memory.available <= memory.total <= psutil.virtual_memory().total
    assert memory_domain() == memory_domain()
    assert memory_domain().startswith("host:")
