"""Two replicas pinned to one card: both report it, with real memory figures, and both answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pynvml
import pytest

from tests.support.cluster import Cluster, until

COUNT = 4000


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "home")
    yield made
    made.end()


def first_gpu() -> tuple[str, int]:
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    return (uuid if isinstance(uuid, str) else uuid.decode()), int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


@pytest.mark.parametrize("by", ["index", "uuid"])
def test_two_replicas_share_a_card(cluster: Cluster, reranker_torch: Path, by: str) -> None:
    uuid, used_before = first_gpu()
    cluster.extra_env["CUDA_VISIBLE_DEVICES"] = "0" if by == "index" else uuid
    cluster.serve()
    (worker,) = cluster.slots()["workers"]
    address = worker["address"]
    assert [d["uuid"] for d in worker["devices"]] == [uuid]
    launched = cluster.launch("-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "--pin", f"{address}@0", "--pin", f"{address}@0")
    for replica in launched["replicas"]:
        assert replica["device"]["uuid"] == uuid
        assert replica["device"]["kind"] == "gpu"
    _, used_after = first_gpu()
    (device,) = cluster.slots()["workers"][0]["devices"]
    assert used_after - used_before > 200 << 20
    assert device["reserved_bytes"] > 100 << 20
    body = {"model": "ce", "query": "q", "documents": ["a b c " * 20] * COUNT}
    reply = httpx.post(cluster.url + "/v1/rerank", json=body, timeout=120)
    assert len(reply.json()["results"]) == COUNT
    until(lambda: sum(r["documents"] for r in cluster.replicas("ce")) >= COUNT, "every document counted")
    shares = [r["documents"] / COUNT for r in cluster.replicas("ce")]
    assert min(shares) > 0.2, shares
