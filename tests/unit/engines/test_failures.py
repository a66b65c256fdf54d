"""What exceptions of the runtimes become."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xinfer.engines.failures import from_batch, from_load
from xinfer.errors import EngineError, LaunchFailed, OutOfMemory


def test_torchs_own_cpu_allocation_failure_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.float32)
    error = from_batch(caught.value, 4, 100)
    assert isinstance(error, OutOfMemory)
    assert error.details == {"items": 4, "longest": 100, "spoils_thread": False}


def test_a_kernel_of_onednn_without_room_spoils_its_thread() -> None:
    error = from_batch(RuntimeError("could not create a primitive\nException raised from ..."), 4, 100)
    assert isinstance(error, OutOfMemory)
    assert error.details["spoils_thread"] is True


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("Failed to allocate memory for requested buffer of size 17179869184"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_out_of_memory_in_every_tongue(error: Exception) -> None:
    assert isinstance(from_batch(error, 1, 1), OutOfMemory)
    assert isinstance(from_load(error, Path("/m")), OutOfMemory)


def test_a_broken_device_is_fatal_and_an_ordinary_error_is_not() -> None:
    broken = from_batch(RuntimeError("CUDA error: device-side assert triggered"), 1, 1)
    ordinary = from_batch(ValueError("shape mismatch\nlong trace"), 1, 1)
    assert isinstance(broken, EngineError)
    assert broken.details["fatal"] is True
    assert isinstance(ordinary, EngineError)
    assert ordinary.details["fatal"] is False
    assert ordinary.message == "The model failed on the batch: ValueError: shape mismatch"


def test_a_load_error_names_the_model() -> None:
    error = from_load(OSError("no file named model.safetensors"), Path("/models/bge"))
    assert type(error) is LaunchFailed
    assert error.message == "bge could not be loaded: OSError: no file named model.safetensors"
