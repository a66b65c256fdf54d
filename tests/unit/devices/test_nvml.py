"""GPUs as a driver describes them, whole, divided, lost or absent."""

from __future__ import annotations

import psutil
import pytest

from tests.unit.devices.fake_nvml import FakeCard, FakeNvml, NVMLError
from xinfer.cluster.device import DeviceKind
from xinfer.devices.base import Usage
from xinfer.devices.nvml import NvmlInventory, open_nvml
from xinfer.errors import ConfigError


def four() -> list[FakeCard]:
    return [FakeCard(f"GPU-{letter * 4}-0", bus=i) for i, letter in enumerate("abcd")]


def opened(cards: list[FakeCard], **env: str) -> NvmlInventory:
    inventory = open_nvml(env, FakeNvml(cards))
    assert inventory is not None
    return inventory


def uuids(inventory: NvmlInventory) -> list[str]:
    return [device.uuid for device in inventory.devices]


def test_all_gpus_with_their_own_memory() -> None:
    first, *_ = opened(four()).devices
    assert (first.uuid, first.kind, first.index, first.name) == ("GPU-aaaa-0", DeviceKind.GPU, 0, "NVIDIA H100")
    assert (first.total_bytes, first.memory_domain, first.cores) == (80 * 2**30, "GPU-aaaa-0", ())


def test_the_bus_decides_the_order() -> None:
    cards = four()
    cards[0].bus = 9
    assert uuids(opened(cards)) == ["GPU-bbbb-0", "GPU-cccc-0", "GPU-dddd-0", "GPU-aaaa-0"]
    assert uuids(opened(cards, CUDA_VISIBLE_DEVICES="3")) == ["GPU-aaaa-0"]


def test_indices_count_after_cuda_visible_devices() -> None:
    inventory = opened(four(), CUDA_VISIBLE_DEVICES="2,0")
    assert [(device.index, device.uuid) for device in inventory.devices] == [(0, "GPU-cccc-0"), (1, "GPU-aaaa-0")]
    assert set(inventory.usage()) == {"GPU-cccc-0", "GPU-aaaa-0"}


def test_no_driver_or_nothing_visible_is_no_inventory_and_leaves_the_driver_closed() -> None:
    assert open_nvml({}, FakeNvml([], driver=False)) is None
    for cards, env in [([], {}), (four(), {"CUDA_VISIBLE_DEVICES": ""}), (four(), {"CUDA_VISIBLE_DEVICES": "-1"})]:
        nvml = FakeNvml(cards)
        assert open_nvml(env, nvml) is None
        assert nvml.open == 0


def test_a_driver_that_cannot_list_is_no_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(four())

    def broken() -> int:
        raise NVMLError("Driver/library version mismatch")

    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", broken)
    assert open_nvml({}, nvml) is None
    assert nvml.open == 0


def test_close_releases_the_driver_once() -> None:
    nvml = FakeNvml(four())
    inventory = open_nvml({}, nvml)
    assert inventory is not None
    assert nvml.open == 1
    inventory.close()
    inventory.close()
    assert nvml.open == 0


def test_usage_is_bytes_and_a_fraction() -> None:
    assert opened(four()).usage()["GPU-bbbb-0"] == Usage(70 * 2**30, 0.25)  # type: ignore[index]


def test_a_gpu_that_falls_off_the_bus_is_unknown_and_hurts_no_other() -> None:
    cards = four()
    inventory = opened(cards)
    cards[1].fail = {"lost"}
    usage = inventory.usage()
    assert usage[inventory.devices[1].uuid] == Usage(None, None)
    assert usage[inventory.devices[2].uuid] == Usage(70 * 2**30, 0.25)


def test_a_gpu_lost_before_the_start_keeps_its_number() -> None:
    cards = four()
    cards[1].fail = {"lost"}
    assert uuids(opened(cards)) == ["GPU-aaaa-0", "GPU-cccc-0", "GPU-dddd-0"]
    assert uuids(opened(cards, CUDA_VISIBLE_DEVICES="1,2")) == ["GPU-cccc-0"]


def test_mig_devices_stand_in_for_their_card() -> None:
    parts: list[FakeCard | None] = [
        FakeCard("MIG-1111", "NVIDIA H100 MIG 1g.10gb", total=10 * 2**30, free=9 * 2**30, fail={"utilization"}),
        None,
        FakeCard("MIG-2222", "NVIDIA H100 MIG 2g.20gb", total=20 * 2**30, free=19 * 2**30),
    ]
    cards = [FakeCard("GPU-aaaa", mig=parts), FakeCard("GPU-bbbb", bus=1)]
    inventory = opened(cards)
    assert uuids(inventory) == ["MIG-1111", "MIG-2222", "GPU-bbbb"]
    assert [device.total_bytes // 2**30 for device in inventory.devices] == [10, 20, 80]
    assert inventory.usage()[inventory.devices[0].uuid] == Usage(9 * 2**30, None)
    assert uuids(opened(cards, CUDA_VISIBLE_DEVICES="MIG-2222")) == ["MIG-2222"]
    assert uuids(opened(cards, CUDA_VISIBLE_DEVICES="0")) == ["MIG-1111", "MIG-2222"]


def test_a_gpu_on_the_hosts_memory_counts_that() -> None:
    (device,) = opened([FakeCard("GPU-gb10", fail={"memory"})]).devices
    assert device.total_bytes == psutil.virtual_memory().total
    assert device.memory_domain.startswith("host:")


def test_memory_of_a_process() -> None:
    cards = four()
    cards[0].processes = [(11, 3), (12, 5), (11, 4)]
    cards[1].processes = [(11, None)]
    cards[2].fail = {"processes"}
    inventory = opened(cards)
    assert inventory.process_memory(11) == {"GPU-aaaa-0": 7}
    assert inventory.process_memory(99) == {}


def test_environment_of_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    inventory = opened(four())
    env = inventory.environment([inventory.devices[2].uuid, inventory.devices[0].uuid])
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-cccc-0,GPU-aaaa-0"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert env["XINFER_DEVICE_KIND"] == "gpu"
    assert env["PYTORCH_CUDA_ALLOC_CONF"] == env["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert (env["TOKENIZERS_PARALLELISM"], env["RAYON_NUM_THREADS"]) == ("true", env["OMP_NUM_THREADS"])
    assert int(env["OMP_NUM_THREADS"]) >= 2


@pytest.mark.parametrize("name", ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_what_the_user_set_for_torchs_allocator_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:128")
    inventory = opened(four())
    env = inventory.environment([inventory.devices[0].uuid])
    assert not {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"} & set(env)


def test_integers_in_another_order_are_refused_only_where_it_matters() -> None:
    mixed = [FakeCard("GPU-a", "A100"), FakeCard("GPU-b", "H100", bus=1)]
    with pytest.raises(ConfigError, match="CUDA_DEVICE_ORDER must be PCI_BUS_ID, not FASTEST_FIRST"):
        opened(mixed, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="FASTEST_FIRST")
    nvml = FakeNvml(mixed)
    with pytest.raises(ConfigError):
        open_nvml({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, nvml)
    assert nvml.open == 0
    assert uuids(opened(mixed, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID")) == ["GPU-b"]
    assert uuids(opened(mixed, CUDA_VISIBLE_DEVICES="GPU-b", CUDA_DEVICE_ORDER="FASTEST_FIRST")) == ["GPU-b"]
    assert uuids(opened(four(), CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="FASTEST_FIRST")) == ["GPU-bbbb-0"]


def test_integers_without_an_order_on_different_gpus_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    assert uuids(opened([FakeCard("GPU-a", "A100"), FakeCard("GPU-b", "H100", bus=1)], CUDA_VISIBLE_DEVICES="1")) == ["GPU-b"]
    assert "PCI order" in caplog.text
