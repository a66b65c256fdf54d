"""Cores divided among slots."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from xinfer.devices.cores import physical, read_topology, split

# Two packages of two physical cores with two hyper-threads each, numbered as Linux does: second threads last.
HYPER = {cpu: (cpu % 4 // 2, cpu % 2) for cpu in range(8)}


def test_hyper_threads_of_a_core_stay_together() -> None:
    assert split(HYPER, 4) == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert split(HYPER, 2) == [(0, 1, 4, 5), (2, 3, 6, 7)]
    assert [physical(HYPER, group) for group in split(HYPER, 2)] == [2, 2]


@given(st.integers(1, 64), st.data())
def test_groups_are_disjoint_complete_and_nearly_equal(cores: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, cores))
    groups = split({cpu: (0, cpu) for cpu in range(cores)}, n)
    assert sorted(cpu for group in groups for cpu in group) == list(range(cores))
    sizes = [len(group) for group in groups]
    assert len(sizes) == n
    assert max(sizes) - min(sizes) <= 1


def test_topology_is_read_and_what_is_missing_is_its_own_core(tmp_path: Path) -> None:
    folder = tmp_path / "cpu3" / "topology"
    folder.mkdir(parents=True)
    (folder / "physical_package_id").write_text("1\n")
    (folder / "core_id").write_text("5\n")
    assert read_topology([3, 4], tmp_path) == {3: (1, 5), 4: (-1, 4)}
