"""A burst of the longest documents in half the memory that running them together would take: nothing fails, nothing restarts.

``XINFER_TEST_LONG_REQUESTS`` = requests at once, by default few enough for a slow core.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.cluster import Cluster
from xinfer.cluster.memory import MIB

REQUESTS = int(os.environ.get("XINFER_TEST_LONG_REQUESTS", "96"))
ROOM = 340 * MIB
"""Beside the idle model; more would not be tight. The model takes some 670 MiB, or 1 GiB where torch is a CUDA build."""
LONGEST = "word " * 600

# Prints the bytes of the idle model and of one more item of the longest length in a batch.
_NAIVE = """
import json, sys
from pathlib import Path
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.device import DeviceKind
from xinfer.engines import host_limit, registry
from xinfer.engines.base import LoadContext
path = Path(sys.argv[1])
spec = ModelSpec(name="m", type=ModelType.RERANK, engine="sentence_transformers", sources=(LocalSource(path=str(path)),))
model = registry.get(spec.engine).load(LoadContext(path, spec, DeviceKind.CPU, ("CPU-0",), 1, 0))
(item,) = model.tokenize([WorkItem("a", "word " * 600)])
assert item.tokens == model.max_tokens
def took(count):
    model.release_memory()
    assert host_limit.reset_peak()
    before = host_limit.resident()
    model.forward([item] * count)
    return before, host_limit.peak() - before
took(1)
_, two = took(2)
idle, six = took(6)
print(json.dumps([idle, (six - two) / 4]))
"""


def naive_bytes(model: Path, count: int) -> tuple[int, int]:
    """Bytes of the idle model, and with one batch of ``count`` of the longest items; extrapolated from batches of two and six."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", _NAIVE, str(model)], env=env, capture_output=True, text=True, check=True)
    idle, each = json.loads(done.stdout.splitlines()[-1])
    return int(idle), int(idle + count * each)


def peak_of(pid: int) -> int:
    """Most bytes the process has had in memory at once since it became ready."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


async def all_at_once(url: str, count: int) -> Counter[str]:
    """Status of each request, with the error's text where there is one."""
    seen: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=httpx.Limits(max_connections=None)) as client:

        async def one() -> None:
            reply = await client.post("/v1/rerank", json={"model": "ce", "query": "a", "documents": [LONGEST]})
            good = reply.status_code == 200 and len(reply.json()["results"]) == 1
            seen["good" if good else f"{reply.status_code} {reply.text[:200]}"] += 1

        await asyncio.gather(*(one() for _ in range(count)))
    return seen


def shown(replicas: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r["replica_id"], r["pid"], r["phase"], r["restarts"]) for r in replicas]


@pytest.mark.timeout(900)
def test_a_burst_of_the_longest_documents_in_half_the_memory(cluster: Cluster, reranker_torch: Path) -> None:
    idle, naive = naive_bytes(reranker_torch, REQUESTS)
    budget = min(naive // 2, idle + ROOM)
    cluster.serve("--cpu-slots", "2")
    what = ("-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "--model-engine", "sentence_transformers", "--dtype", "float32")
    cluster.launch(*what, "-r", "2", "--memory", str(budget))
    before = cluster.replicas("ce")
    assert asyncio.run(all_at_once(cluster.url, REQUESTS)) == {"good": REQUESTS}
    after = cluster.replicas("ce")
    assert shown(after) == shown(before)
    peaks = [peak_of(r["pid"]) for r in after]
    print(f"naive {naive // MIB} MiB, budget {budget // MIB} MiB, peaks {[peak // MIB for peak in peaks]} MiB")
    assert max(peaks) < budget
