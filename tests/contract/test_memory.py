"""Each engine in a process of its own with a reservation: what it reports is enough for a restart, the kernel's refusal is survived."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.cases import Case, case_of, folder_of
from xinfer.batching.work import WorkItem
from xinfer.cluster.memory import MIB, with_headroom
from xinfer.engines import host_limit, registry
from xinfer.errors import LaunchFailed, XinferError
from xinfer.serving.memory import SPARE
from xinfer.serving.server import ModelServer

QUERY = "how many people live in berlin?"
NAMES = ("minilm", "bge-small-onnx")
"""One model of each engine; small, since each process loads it anew."""


def texts(count: int, longest: int) -> list[str]:
    dice = random.Random(1)
    return ["word " * dice.choice([longest, longest, longest // 2, 40, 5]) for _ in range(count)]


async def burst(case: Case, path: Path, reserved: int, blind: bool) -> dict[str, Any]:
    """Load within ``reserved`` bytes, serve a burst, tell what it took. ``blind``: only the kernel's limit, right above what is in use."""
    context = replace(case.context(path), memory_bytes=reserved, options={"calibrate_seconds": 0.0})
    try:
        server = await ModelServer.load(registry.get(case.engine), context)
    except XinferError as error:
        return {"code": error.code, "message": error.message}
    told: dict[str, Any] = {"used": server.reports()[0].used_bytes}
    alone = (await server.run(tuple(case.items(["short"], QUERY)))).values
    if blind:
        assert server._memory is not None
        server._memory.footprint = None
        server._runner.budget = replace(server._runner.budget, tokens=1 << 15, calibrated=1 << 15)
        server._memory.reserved = host_limit.resident() + 96 * MIB - SPARE
        server._memory.released()
    else:
        assert host_limit.reset_peak()
    items: list[WorkItem] = case.items(texts(48, case.max_tokens), QUERY)
    results = await asyncio.gather(*(server.run(tuple(items[start : start + 12])) for start in range(0, len(items), 12)))
    after = (await server.run(tuple(case.items(["short"], QUERY)))).values
    told |= {
        "errors": [error.message for result in results for _, error in result.errors],
        "finite": all(bool(np.isfinite(result.values).all()) for result in results),
        "same": float(np.abs(after - alone).max()),
        "splits": server.stats().oom_splits,
        "peak": host_limit.peak(),
    }
    host_limit.limit_private(1 << 50)
    await server.close()
    return told


def in_a_process(name: str, reserved: int, blind: bool = False) -> Any:
    command = [sys.executable, "-m", "tests.contract.test_memory", name, str(folder_of(name)), str(reserved), str(int(blind))]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_reported_is_enough_after_a_restart_and_peaks_stay_within(name: str) -> None:
    first = in_a_process(name, 4 << 30)
    reserved = with_headroom(first["used"])
    again = in_a_process(name, reserved)
    assert (again["errors"], again["finite"], again["splits"]) == ([], True, 0)
    assert again["peak"] <= reserved
    assert abs(again["used"] - first["used"]) < first["used"] // 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_that_refuses_memory_is_met_by_smaller_batches(name: str) -> None:
    told = in_a_process(name, 4 << 30, blind=True)
    assert (told["errors"], told["finite"]) == ([], True)
    assert told["splits"] > 0
    assert told["same"] < (1e-4 if case_of(name).exact else 0.2)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_reservation_that_the_weights_fill_is_refused_with_what_would_do(name: str) -> None:
    told = in_a_process(name, 64 * MIB)
    assert told["code"] == LaunchFailed.code
    assert "reserve" in told["message"]


if __name__ == "__main__":
    name, path, reserved, blind = sys.argv[1:]
    print(json.dumps(asyncio.run(burst(case_of(name), Path(path), int(reserved), bool(int(blind))))))
