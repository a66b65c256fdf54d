"""GPU tests: run with ``pytest -m gpu tests/gpu`` where there is an NVIDIA GPU; counted as skipped elsewhere."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def gpus() -> int:
    """Number of GPUs that the driver lists."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    count = gpus()
    for item in items:
        if "/gpu/" in str(item.path):
            item.add_marker(pytest.mark.gpu)
            if count == 0:
                item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU on this machine"))
