"""Whatever one process does, requests are served and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.cluster import Cluster, until
from tests.support.load import Outcome, documents, keep_load

CONTROL_AWAY = 20.0
KILLS = 4
"""Fewer than the crashes after which a replica is given up."""


def launch_two(cluster: Cluster, model: Path) -> list[dict[str, object]]:
    cluster.launch("-t", "rerank", "-mp", str(model), "-u", "ce", "-r", "2")
    return cluster.replicas("ce")


async def under_load(cluster: Cluster, trouble: object) -> Outcome:
    """32 clients in a closed loop while ``trouble`` runs, and a little after."""
    over = asyncio.Event()
    load = asyncio.create_task(keep_load(cluster.url, "ce", 32, lambda: not over.is_set()))
    await asyncio.sleep(2.0)
    try:
        await trouble  # type: ignore[misc]
    finally:
        over.set()
    return await load


def test_kill_9_of_a_replica_under_load(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--cpu-slots", "2")
    victim = launch_two(cluster, reranker_onnx)[0]

    async def trouble() -> None:
        os.kill(int(str(victim["pid"])), signal.SIGKILL)
        await asyncio.to_thread(until, lambda: back(cluster, victim), "the replica back in its slot", 60)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20
    again = next(r for r in cluster.replicas("ce") if r["replica_id"] == victim["replica_id"])
    assert (again["slot"], again["restarts"]) == (victim["slot"], 1)


def back(cluster: Cluster, victim: dict[str, object]) -> bool:
    now = {r["replica_id"]: r for r in cluster.replicas("ce")}
    found = now.get(victim["replica_id"], {})
    return found.get("phase") == "ready" and found.get("pid") != victim["pid"]


def test_kill_9_of_the_control_process_under_load(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    before = {r["replica_id"]: r["pid"] for r in launch_two(cluster, reranker_onnx)}
    launcher = psutil.Process(command.pid)

    async def trouble() -> None:
        launcher.suspend()  # so that it stays away for a while
        command.child("control_main").kill()
        await asyncio.sleep(CONTROL_AWAY)
        launcher.resume()
        await asyncio.to_thread(until, lambda: pids(cluster) == before, "the same replicas adopted", 60)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20
    assert pids(cluster) == before


def test_a_worker_process_that_hangs_under_load_costs_no_request_and_no_replica(cluster: Cluster, reranker_onnx: Path) -> None:
    """Nobody hears of its replicas any more, but they live, and it is the only worker."""
    command = cluster.serve("--cpu-slots", "2")
    before = {r["replica_id"]: r["pid"] for r in launch_two(cluster, reranker_onnx)}
    worker = command.child("worker_main")

    async def trouble() -> None:
        worker.suspend()
        await asyncio.to_thread(until, lambda: {r["phase"] for r in cluster.replicas("ce")} == {"queued"}, "the worker lost", 30)
        await asyncio.sleep(5.0)
        worker.resume()
        await asyncio.to_thread(until, lambda: pids(cluster) == before, "the same replicas adopted", 60)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20


def test_kill_9_of_the_only_api_process_refuses_nobody_that_comes_after(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    launch_two(cluster, reranker_onnx)

    async def trouble() -> None:
        command.child("api.main").kill()
        await asyncio.to_thread(until, lambda: len(pids(cluster)) == 2, "a new API process", 30)
        await asyncio.sleep(3.0)

    outcome = asyncio.run(under_load(cluster, trouble()))
    cut = {what for what in outcome.wrong if what.startswith(("RemoteProtocolError", "ReadError"))}
    assert set(outcome.wrong) == cut, outcome.wrong
    assert sum(outcome.wrong.values()) <= 32  # those whose connection it held
    assert outcome.right > 20


def test_many_kills_of_random_replicas_under_load(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--cpu-slots", "2")
    launch_two(cluster, reranker_onnx)
    dice = random.Random(7)
    killed = 0

    async def trouble() -> None:
        nonlocal killed
        for _ in range(KILLS):
            await asyncio.to_thread(until, lambda: len(pids(cluster)) == 2, "both replicas ready", 90)
            victim = dice.choice(sorted(pids(cluster).values(), key=str))
            os.kill(int(str(victim)), signal.SIGKILL)
            killed += 1
            await asyncio.to_thread(until, lambda v=victim: v not in pids(cluster).values(), "the loss noticed", 30)
        await asyncio.to_thread(until, lambda: len(pids(cluster)) == 2, "both replicas ready", 90)

    outcome = asyncio.run(under_load(cluster, trouble()))
    assert not outcome.wrong, outcome.wrong
    assert outcome.right > 20
    assert sum(r["restarts"] for r in cluster.replicas("ce")) == killed == KILLS
    reserved = [d["reserved_bytes"] for w in cluster.slots()["workers"] for d in w["devices"]]
    assert sum(reserved) == sum(r["reserved_bytes"] for r in cluster.replicas("ce"))
    assert all(reserved)


def pids(cluster: Cluster) -> dict[str, object]:
    try:
        return {r["replica_id"]: r["pid"] for r in cluster.replicas("ce") if r["phase"] == "ready"}
    except httpx.HTTPError:
        return {}


@pytest.mark.parametrize("mark", ["worker_main", "control_main", "api.main"])
def test_kill_9_of_any_child_is_survived(cluster: Cluster, reranker_onnx: Path, mark: str) -> None:
    command = cluster.serve("--cpu-slots", "2")
    launch_two(cluster, reranker_onnx)
    victim = command.child(mark)
    offspring = victim.children(recursive=True)
    victim.kill()
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in offspring), "no orphan of the victim", 5)
    until(lambda: len(pids(cluster)) == 2, "both replicas ready again", 90)


def test_kill_9_of_the_launcher_leaves_no_orphan(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    launch_two(cluster, reranker_onnx)
    tree = command.tree()
    assert len(tree) >= 6
    command.process.kill()
    command.process.wait()
    until(lambda: not [p for p in tree[1:] if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], "no orphan", 5)


def test_sigterm_stops_cleanly_and_a_new_start_brings_the_models_back(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    slots = {r["replica_id"]: r["slot"].rpartition("@")[2] for r in launch_two(cluster, reranker_onnx)}
    tree = command.tree()
    assert command.stop() == 0
    assert not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    command.start()
    until(lambda: len(pids(cluster)) == 2, "both replicas ready again", 90)
    assert {r["replica_id"]: r["slot"].rpartition("@")[2] for r in cluster.replicas("ce")} == slots


def test_sigterm_answers_what_it_has_taken(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "2")
    launch_two(cluster, reranker_onnx)

    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=cluster.url, timeout=60) as client:
            body = {"model": "ce", "query": "a river", "documents": documents(60)}
            asked = [asyncio.create_task(client.post("/v1/rerank", json=body)) for _ in range(3)]
            await asyncio.to_thread(until, lambda: busy(cluster), "the requests running", 20)
            command.process.send_signal(signal.SIGTERM)
            return [reply.status_code for reply in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == [200, 200, 200]
    assert command.process.wait(30) == 0


def busy(cluster: Cluster) -> bool:
    return any(r["in_flight"] for r in cluster.replicas("ce"))


def test_a_launch_outlives_its_client(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--cpu-slots", "1")
    body = {"model_path": str(reranker_onnx), "model_type": "rerank", "model_uid": "ce"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(cluster.url + "/v1/models", json=body, timeout=0.5)
    until(lambda: len(pids(cluster)) == 1, "the launch went on", 60)
