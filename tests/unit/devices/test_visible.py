"""``CUDA_VISIBLE_DEVICES`` by CUDA's rules."""

from __future__ import annotations

import pytest

from xinfer.devices.visible import Gpu, select

WHOLE = [Gpu(f"GPU-{name}", (f"GPU-{name}",)) for name in ("a1", "a2", "b1")]
DIVIDED = [Gpu("GPU-a1", ("MIG-x1", "MIG-x2")), Gpu("GPU-b1", ("GPU-b1",)), Gpu("GPU-c1", ())]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, "a1 a2 b1"),
        ("", ""),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("0", "a1"),
        ("2,0", "b1 a1"),
        (" 1 , 2 ", "a2 b1"),
        ("0,-1,1", "a1"),
        ("0,7,1", "a1"),
        ("0,,1", "a1"),
        ("1x,0", "a2 a1"),
        ("0,GPU-b1", "a1"),
        ("0,1,0", ""),
        ("GPU-b1", "b1"),
        ("GPU-b", "b1"),
        ("GPU-b,GPU-a1", "b1 a1"),
        ("GPU-a", ""),  # two GPUs begin like that
        ("GPU-b1,GPU-a,GPU-a2", "b1"),
        ("GPU-b1,GPU-zz,GPU-a1", "b1"),
        ("GPU-b1,0", "b1"),
        ("GPU-b1,GPU-b", ""),
        ("MIG-x1", ""),
    ],
)
def test_whole_gpus(value: str | None, names: str) -> None:
    assert select(value, WHOLE) == [f"GPU-{name}" for name in names.split()]


@pytest.mark.parametrize(
    ("value", "uuids"),
    [
        (None, "MIG-x1 MIG-x2 GPU-b1"),
        ("0", "MIG-x1 MIG-x2"),
        ("2,1", "GPU-b1"),
        ("GPU-a1", "MIG-x1 MIG-x2"),
        ("MIG-x2,MIG-x1", "MIG-x2 MIG-x1"),
        ("MIG-x", ""),
        ("MIG-x1,GPU-b1", "MIG-x1"),
        ("MIG-x1,MIG-x1", ""),
    ],
)
def test_divided_gpus(value: str | None, uuids: str) -> None:
    assert select(value, DIVIDED) == uuids.split()
