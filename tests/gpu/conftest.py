"""GPU tests: run with ``pytest -m gpu tests/gpu`` where there is an NVIDIA GPU; counted as skipped elsewhere."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from collections.abc import Iterator

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


@pytest.fixture(autouse=True)
def _card_of_ones_own() -> Iterator[None]:
    """Models of a test that has ended are not in the next one's way: a bound on this process's memory counts them all."""
    yield
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
