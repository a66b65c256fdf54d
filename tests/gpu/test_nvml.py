"""A real NVIDIA GPU: what NVML says, CUDA sees, and a process takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from xinfer.cluster.device import DeviceKind
from xinfer.devices.nvml import NvmlInventory, open_nvml

pytestmark = pytest.mark.gpu

# Reports what torch sees, holds 1 GiB until stdin closes.
_HOLD = """
import json, sys, torch
block = torch.ones(2**30, dtype=torch.uint8, device="cuda:0")
torch.cuda.synchronize()
seen = torch.cuda.get_device_properties(0)
print(json.dumps({"count": torch.cuda.device_count(), "uuid": str(seen.uuid), "name": seen.name}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def inventory() -> Iterator[NvmlInventory]:
    opened = open_nvml(os.environ)
    if opened is None:
        pytest.skip("no NVIDIA GPU on this machine")
    yield opened
    opened.close()


def test_devices_and_usage(inventory: NvmlInventory) -> None:
    usage = inventory.usage()
    for index, device in enumerate(inventory.devices):
        assert device.kind is DeviceKind.GPU
        assert device.index == index
        assert device.uuid.startswith(("GPU-", "MIG-"))
        free = usage[device.uuid].free_bytes
        assert free is not None
        assert 0 < free <= device.total_bytes


def test_each_spelling_of_cuda_visible_devices(inventory: NvmlInventory) -> None:
    last = inventory.devices[-1]
    for value in (last.uuid, last.uuid[:12]):
        again = open_nvml({"CUDA_VISIBLE_DEVICES": value})
        assert again is not None
        assert [device.uuid for device in again.devices] == [last.uuid]
        again.close()
    assert open_nvml({"CUDA_VISIBLE_DEVICES": "-1"}) is None


def test_a_process_bound_by_uuid_sees_that_gpu_alone_and_its_memory_is_measured(inventory: NvmlInventory) -> None:
    device = inventory.devices[-1]
    env = {**os.environ, **inventory.environment([device.uuid])}
    before = inventory.usage()[device.uuid].free_bytes
    assert before is not None
    with subprocess.Popen([sys.executable, "-c", _HOLD], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = json.loads(process.stdout.readline())
        during = inventory.usage()[device.uuid].free_bytes
        held = inventory.process_memory(process.pid)
        process.communicate()
    assert seen["count"] == 1
    assert device.uuid.endswith(seen["uuid"])
    assert seen["name"] == device.name
    assert during is not None
    assert before - during >= 2**30
    # Empty where the driver counts pids of another namespace.
    assert held == {} or held[device.uuid] >= 2**30


@pytest.mark.parametrize("kind", ["CPU-00000000-0000-0000-0000-000000000000", "SIM-00000000-0000-0000-0000-000000000000"])
def test_a_cpu_slots_or_simulated_gpus_uuid_hides_every_gpu(inventory: NvmlInventory, kind: str) -> None:
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": kind}
    answer = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"], env=env, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "0"
