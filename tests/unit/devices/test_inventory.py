"""CPU slots and simulated GPUs, and which inventory a worker gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.devices.fake_nvml import FakeCard, FakeNvml
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import WorkerId
from xinfer.devices import cores, inventory, nvml
from xinfer.devices.base import Inventory
from xinfer.devices.host_memory import host_memory
from xinfer.devices.inventory import open_inventory
from xinfer.devices.parse import parse_simulated
from xinfer.errors import ConfigError
from xinfer.settings import Home, SimulatedGpus, WorkerSettings

ONE, TWO = WorkerId("worker-1"), WorkerId("worker-2")
GIB = 2**30


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(cores.read_topology, "__defaults__", (tmp_path,))


def opened(worker_id: WorkerId = ONE, **settings: Any) -> Inventory:
    home = Home(Path("/nonexistent"), Path("/nonexistent"))
    return open_inventory(WorkerSettings(home, **settings), worker_id, {"CUDA_VISIBLE_DEVICES": ""})


def test_cpu_slots_own_disjoint_cores_and_share_one_memory(four_cores: None) -> None:
    first, second = opened(cpu_slots=2).devices
    assert (first.cores, second.cores) == ((0, 1), (2, 3))
    assert first.kind is DeviceKind.CPU
    assert first.memory_domain == second.memory_domain
    assert first.total_bytes == second.total_bytes == host_memory().total // 2
    assert first.uuid.startswith("CPU-")


def test_uuids_come_from_the_worker_id_and_survive_restarts(four_cores: None) -> None:
    for settings in ({"cpu_slots": 2}, {"simulate_gpus": SimulatedGpus(2, GIB)}):
        again = [device.uuid for device in opened(**settings).devices]
        assert again == [device.uuid for device in opened(**settings).devices]
        assert len({*again, *(device.uuid for device in opened(TWO, **settings).devices)}) == 4


@pytest.mark.parametrize("slots", [5, -1])
def test_more_slots_than_cores_are_refused(four_cores: None, slots: int) -> None:
    with pytest.raises(ConfigError, match=f"--cpu-slots must be 1 to 4, the cores this process may use, not {slots}"):
        opened(cpu_slots=slots)


def test_usage_of_cpu_slots_is_the_hosts_free_memory_and_their_busy_share() -> None:
    inventory_ = opened(cpu_slots=1)
    (uuid,) = inventory_.usage()
    before = sum(os.times()[:2])
    while sum(os.times()[:2]) - before < 0.1:
        sum(range(10_000))
    usage = inventory_.usage()[uuid]
    assert usage.free_bytes is not None
    assert 0 < usage.free_bytes <= host_memory().total
    assert usage.utilization is not None
    assert 0 < usage.utilization <= 1


def test_environment_of_cpu_slots_has_their_threads_and_no_gpu(four_cores: None) -> None:
    inventory_ = opened(cpu_slots=2)
    first, second = (device.uuid for device in inventory_.devices)
    env = inventory_.environment([first])
    assert env["CUDA_VISIBLE_DEVICES"] == first
    assert env["XINFER_DEVICE_KIND"] == "cpu"
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "2"
    assert (env["TOKENIZERS_PARALLELISM"], env["RAYON_NUM_THREADS"]) == ("false", "2")
    assert "PYTORCH_ALLOC_CONF" not in env
    assert inventory_.environment([first, second])["OMP_NUM_THREADS"] == "4"


def test_simulated_gpus_divide_the_cores_and_have_a_memory_each(four_cores: None) -> None:
    inventory_ = opened(simulate_gpus=SimulatedGpus(2, 24 * GIB))
    first, second = inventory_.devices
    assert (first.name, first.total_bytes, first.kind) == ("Simulated GPU", 24 * GIB, DeviceKind.SIMULATED)
    assert (first.cores, second.cores) == ((0, 1), (2, 3))
    assert first.memory_domain != second.memory_domain
    assert all(usage.free_bytes is None for usage in inventory_.usage().values())
    env = inventory_.environment([second.uuid])
    assert (env["OMP_NUM_THREADS"], env["XINFER_DEVICE_KIND"], env["CUDA_VISIBLE_DEVICES"]) == ("2", "simulated", second.uuid)


def test_more_simulated_gpus_than_cores_take_turns_on_them(four_cores: None) -> None:
    inventory_ = opened(simulate_gpus=SimulatedGpus(6, GIB))
    assert [device.cores for device in inventory_.devices] == [(0,), (1,), (2,), (3,), (0,), (1,)]
    uuids = [device.uuid for device in inventory_.devices]
    assert inventory_.environment([uuids[0]])["OMP_NUM_THREADS"] == "1"
    assert inventory_.environment([uuids[0], uuids[4]])["OMP_NUM_THREADS"] == "1"
    assert inventory_.environment(uuids)["OMP_NUM_THREADS"] == "4"


def test_gpus_are_taken_if_there_are_any_else_one_cpu_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "open_nvml", lambda env: nvml.open_nvml(env, FakeNvml([FakeCard("GPU-a")])))
    home = Home(Path("/nonexistent"), Path("/nonexistent"))
    assert [device.uuid for device in open_inventory(WorkerSettings(home), ONE, {}).devices] == ["GPU-a"]
    (slot,) = open_inventory(WorkerSettings(home), ONE, {"CUDA_VISIBLE_DEVICES": "-1"}).devices
    assert slot.kind is DeviceKind.CPU
    assert set(slot.cores) == os.sched_getaffinity(0)
    assert opened(cpu_slots=1).devices[0].kind is DeviceKind.CPU


def test_two_kinds_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        opened(cpu_slots=1, simulate_gpus=SimulatedGpus(1, GIB))


@pytest.mark.parametrize(
    ("text", "count", "total"),
    [
        ("4x24GiB", 4, 24 * GIB),
        ("1X80gb", 1, 80 * 10**9),
        ("2x512MiB", 2, 512 * 2**20),
        (" 8 x 16 ", 8, 16 * GIB),
        ("2x1.5GiB", 2, 3 * GIB // 2),
    ],
)
def test_simulated_gpus_are_spelled_count_x_memory(text: str, count: int, total: int) -> None:
    assert parse_simulated(text) == SimulatedGpus(count, total)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "x24GiB",
        "4x",
        "4xGiB",
        "-1x24GiB",
        "4x24parsecs",
        "0x24GiB",
        "4x0GiB",
        "4000x1GiB",
        "4x24GiB,2x8GiB",
        f"1x{'9' * 400}",
        f"{'9' * 5000}x1",
        "٤x٢",
    ],
)
def test_other_spellings_are_refused_with_the_flags_name(text: str) -> None:
    with pytest.raises(ConfigError, match="--simulate-gpus must") as caught:
        parse_simulated(text)
    assert caught.value.param == "--simulate-gpus"
