"""The founding workload: two slots, a reranker with two replicas, 600 documents; both slots work and answers are right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import psutil

from tests.support.cluster import Cluster
from tests.support.load import Outcome, documents, rerank


def test_600_documents_on_two_slots(cluster: Cluster, reranker_torch: Path) -> None:
    cluster.serve("--cpu-slots", "2")
    launched = cluster.launch("-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "-r", "2", "-en", "sentence_transformers")
    slots = {r["slot"] for r in launched["replicas"]}
    assert len(slots) == 2
    cores = [tuple(psutil.Process(r["pid"]).cpu_affinity() or ()) for r in launched["replicas"]]
    assert not set(cores[0]) & set(cores[1])
    texts = documents(600, seed=3, low=10, high=60)

    async def burst() -> Outcome:
        outcome = Outcome()
        async with httpx.AsyncClient(base_url=cluster.url, timeout=300, limits=httpx.Limits(max_connections=None)) as client:
            await asyncio.gather(*(rerank(client, "ce", texts[n : n + 10], outcome) for n in range(0, 600, 10)))
        return outcome

    outcome = asyncio.run(burst())
    assert (outcome.right, dict(outcome.wrong)) == (60, {})
    after_burst = {r["slot"]: r["documents"] for r in cluster.replicas("ce")}
    assert sum(after_burst.values()) == 600
    assert min(after_burst.values()) >= 150, after_burst

    reply = httpx.post(cluster.url + "/v1/rerank", json={"model": "ce", "query": "a river", "documents": texts}, timeout=300)
    assert sorted(r["index"] for r in reply.json()["results"]) == list(range(600))
    one = {r["slot"]: r["documents"] - after_burst[r["slot"]] for r in cluster.replicas("ce")}
    assert sum(one.values()) == 600
    assert min(one.values()) >= 150, one
