"""The variables a replica's process starts with, so that it sees its devices and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence

from xinfer.cluster.device import DeviceKind
from xinfer.cluster.ids import DeviceUuid

_ALLOCATOR = "expandable_segments:True"
_ALLOCATOR_NAMES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Torch before 2.9 reads the first; what the user set under either is inherited untouched."""


def replica_environment(kind: DeviceKind, uuids: Sequence[DeviceUuid], threads: int) -> dict[str, str]:
    """Bind a process to ``uuids`` and to ``threads`` compute threads, before its interpreter starts.

    A CPU slot's or simulated GPU's uuid names nothing to CUDA, so there it hides every real GPU.
    """
    count = str(max(1, threads))
    env = {
        "CUDA_VISIBLE_DEVICES": ",".join(uuids),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "XINFER_DEVICE_KIND": kind.value,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        # Beside a GPU the tokeniser has these threads, for one alone would keep a small model waiting. On a CPU
        # slot they compute, and a pool of tokenisers would take them from the model.
        "TOKENIZERS_PARALLELISM": str(kind is DeviceKind.GPU).lower(),
        "RAYON_NUM_THREADS": count,
    }
    if kind is DeviceKind.GPU and not any(os.environ.get(name) for name in _ALLOCATOR_NAMES):
        env |= dict.fromkeys(_ALLOCATOR_NAMES, _ALLOCATOR)
    return env
