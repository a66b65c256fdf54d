"""A fragmented cluster: `plan` says what would help, a dry run changes nothing, a rebalance under load fails no request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from tests.e2e.test_placement import strip
from tests.support.cluster import Cluster
from tests.support.load import keep_load


def test_room_is_made_under_load(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "2x24GiB")
    model = ("-t", "rerank", "-mp", str(reranker_onnx))
    (small,) = cluster.launch(*model, "-u", "ce", "--memory", "6GiB")["replicas"]
    (other,) = cluster.launch(*model, "-u", "other", "--memory", "8GiB")["replicas"]
    assert small["slot"] != other["slot"]
    large = (*model, "-u", "large", "--memory", "20GiB")
    refused = cluster.run("plan", *large, ok=False)
    assert refused.returncode == 1
    assert (
        f"`xinfer rebalance --memory 20480MiB --model-engine onnxruntime` would make room by moving ce-0 to {other['slot']}"
        in refused.stderr
    )
    plan = httpx.post(
        cluster.url + "/v1/plan", json={"model_path": str(reranker_onnx), "model_type": "rerank", "memory": "20GiB"}, timeout=60
    )
    assert [move["replica_model_uid"] for move in plan.json()["moves"]] == ["ce-0"]

    before = strip(cluster.slots()), cluster.get("/v1/models")
    (move,) = json.loads(cluster.run("rebalance", "--dry-run", "--memory", "20GiB", "--json").stdout)["moves"]
    assert (move["slot"], move["to_slot"], move["successor"]) == (small["slot"], other["slot"], None)
    assert (strip(cluster.slots()), cluster.get("/v1/models")) == before

    async def moved_under_load() -> tuple[int, dict[str, int], str]:
        over = asyncio.Event()
        load = asyncio.create_task(keep_load(cluster.url, "ce", 16, lambda: not over.is_set()))
        await asyncio.sleep(2.0)
        try:
            done = await asyncio.to_thread(cluster.run, "rebalance", "--memory", "20GiB")
        finally:
            over.set()
        outcome = await load
        return outcome.right, dict(outcome.wrong), done.stderr

    right, wrong, said = asyncio.run(moved_under_load())
    assert not wrong, wrong
    assert right > 20
    assert f"ce-0 has moved to {other['slot']}: it is ce-1 now." in said
    assert [(r["replica_model_uid"], r["slot"]) for r in cluster.replicas("ce")] == [("ce-1", other["slot"])]
    assert cluster.launch(*large)["replicas"][0]["slot"] == small["slot"]
    nothing = cluster.run("rebalance", "--json")
    assert json.loads(nothing.stdout)["moves"] == []


def test_a_device_that_holds_little_is_emptied_and_pins_stay(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "3x24GiB")
    (worker,) = cluster.slots()["workers"]
    address, model = worker["address"], ("-t", "rerank", "-mp", str(reranker_onnx))
    (pinned,) = cluster.launch(*model, "-u", "pinned", "--memory", "2GiB", "--pin", f"{address}@0")["replicas"]
    (free,) = cluster.launch(*model, "-u", "free", "--memory", "6GiB")["replicas"]
    refused = cluster.run("rebalance", "--n-gpu", "2", ok=False)
    assert "memory must say how much" in refused.stderr
    assert free["slot"] == f"{address}@1"

    async def emptied_under_load() -> tuple[int, dict[str, int], str]:
        over = asyncio.Event()
        load = asyncio.create_task(keep_load(cluster.url, "free", 16, lambda: not over.is_set()))
        await asyncio.sleep(1.0)
        try:
            done = await asyncio.to_thread(cluster.run, "rebalance", "--json")
        finally:
            over.set()
        outcome = await load
        return outcome.right, dict(outcome.wrong), done.stdout

    right, wrong, said = asyncio.run(emptied_under_load())
    assert (bool(right), wrong) == (True, {})
    done = json.loads(said)
    assert [(m["replica_model_uid"], m["to_slot"], m["why"]) for m in done["moves"]] == [
        ("free-0", f"{address}@0", f"leaves {address}@1 free as a whole")
    ]
    assert done["freed"] == [f"{address}@1"]
    assert (cluster.replicas("free")[0]["slot"], cluster.replicas("pinned")[0]["pid"]) == (f"{address}@0", pinned["pid"])
    assert json.loads(cluster.run("rebalance", "--dry-run", "--json").stdout)["moves"] == []
