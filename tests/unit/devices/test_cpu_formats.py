"""What /proc/cpuinfo says of bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.devices.fake_nvml import FakeCard, FakeNvml
from xinfer.catalog.spec import Dtype
from xinfer.cluster.ids import WorkerId
from xinfer.devices.cpu import CpuInventory
from xinfer.devices.cpu_formats import native_dtypes
from xinfer.devices.nvml import open_nvml

F32, F16, BF16 = Dtype.FLOAT32, Dtype.FLOAT16, Dtype.BFLOAT16
CORE = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu vme avx512f {}\nbugs\t\t: spectre_v1 bf16\n\n"


@pytest.mark.parametrize(
    ("text", "dtypes"),
    [
        (CORE.format("avx512_bf16") * 2, (F32, BF16)),
        (CORE.format("amx_bf16 amx_tile"), (F32, BF16)),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16 dgh\n", (F32, BF16)),
        (CORE.format(""), (F32,)),
        (CORE.format("avx512_bf16") + CORE.format(""), (F32,)),
        ("", (F32,)),
    ],
)
def test_bfloat16_is_native_where_every_core_has_it(tmp_path: Path, text: str, dtypes: tuple[Dtype, ...]) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert native_dtypes(path) == dtypes
    (device,) = CpuInventory(WorkerId("w"), 1, cpuinfo=path).devices
    assert device.dtypes == dtypes


def test_a_host_without_cpuinfo_has_float32(tmp_path: Path) -> None:
    assert native_dtypes(tmp_path / "none") == (F32,)


@pytest.mark.parametrize(
    ("card", "dtypes"),
    [
        (FakeCard("GPU-a", capability=(9, 0)), (F32, F16, BF16)),
        (FakeCard("GPU-a", capability=(8, 0)), (F32, F16, BF16)),
        (FakeCard("GPU-a", capability=(7, 5)), (F32, F16)),
        (FakeCard("GPU-a", capability=(6, 1)), (F32,)),
        (FakeCard("GPU-a", fail={"capability"}), (F32,)),
    ],
)
def test_a_gpu_has_what_its_compute_capability_says(card: FakeCard, dtypes: tuple[Dtype, ...]) -> None:
    inventory = open_nvml({}, FakeNvml([card]))
    assert inventory is not None
    assert inventory.devices[0].dtypes == dtypes
