"""Scaling and moving under load, through the command line: no request fails, and replicas are where they were asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.test_faults import under_load
from tests.support.cluster import Cluster


def placed(cluster: Cluster) -> dict[str, str]:
    """Slot index by replica, of those that are not leaving."""
    return {r["replica_model_uid"]: r["slot"].rpartition("@")[2] for r in cluster.replicas("ce") if r["phase"] != "draining"}


def test_scale_up_move_and_scale_down_under_load(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "4x24GiB")
    address = cluster.slots()["workers"][0]["address"]
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "--pin", f"{address}@0")
    seen: list[dict[str, str]] = []

    async def xinfer(*argv: str) -> None:
        await asyncio.to_thread(cluster.run, *argv)
        seen.append(await asyncio.to_thread(placed, cluster))

    async def trouble() -> None:
        await xinfer("scale", "ce", "3")
        await xinfer("move", "ce", "0", "--pin", f"{address}@3")
        await xinfer("scale", "ce", "1")

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20
    assert sorted(seen[0].values()) == ["0", "1", "2"]
    assert seen[1]["ce-3"] == "3"
    assert set(seen[1]) == {"ce-1", "ce-2", "ce-3"}
    assert seen[2] == {"ce-3": "3"}, "the pinned one stays"


def test_a_move_that_cannot_be_is_refused_in_a_sentence_and_changes_nothing(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "1x24GiB")
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    before = cluster.replicas("ce")
    refused = cluster.run("move", "ce", "0", ok=False)
    assert refused.returncode == 1
    assert "No other slot has room" in refused.stderr
    assert cluster.run("move", "ce", "5", ok=False).returncode == 4
    asleep = cluster.run("scale", "ce", "0", ok=False)
    assert (asleep.returncode, "let it sleep with min_replica 0" in asleep.stderr) == (1, True)
    assert [(r["pid"], r["slot"]) for r in cluster.replicas("ce")] == [(r["pid"], r["slot"]) for r in before]


def test_draining_one_of_two_workers_under_load(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.supervisor()
    cluster.worker("--simulate-gpus", "2x24GiB")
    first = cluster.slots()["workers"][0]["address"]
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "-r", "2")
    cluster.worker("--simulate-gpus", "2x24GiB")
    (second,) = (w["address"] for w in cluster.slots()["workers"] if w["address"] != first)

    async def trouble() -> None:
        await asyncio.to_thread(cluster.run, "drain", first)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20
    assert {r["slot"].rpartition("@")[0] for r in cluster.replicas("ce")} == {second}
    assert {w["address"]: w["state"] for w in cluster.slots()["workers"]} == {first: "draining", second: "alive"}
    assert "being drained" in cluster.run("plan", "-t", "rerank", "-mp", str(reranker_onnx), "--pin", f"{first}@0", ok=False).stderr
    cluster.run("drain", first, "--undo")
    assert cluster.get(f"/v1/workers/{first}/drain")["draining"] is False
    cluster.run("scale", "ce", "3")
    assert len(cluster.replicas("ce")) == 3
