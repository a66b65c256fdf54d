"""A model that follows its load, sleeps and wakes, and a stop that answers what was accepted."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster import Cluster, until

DOCUMENTS = 50
"""Times 16 requests: more than a command takes to start, and by far less than a stop waits for, on any machine."""
LONG = "the load of a model is what waits and what runs, in windows of one replica " * 2


def rerank(cluster: Cluster, documents: int) -> httpx.Response:
    body = {"model": "ce", "query": "load", "documents": [f"{n} {LONG}" for n in range(documents)], "return_documents": False}
    return httpx.post(f"{cluster.url}/v1/rerank", json=body, timeout=180)


def model(cluster: Cluster) -> Any:
    return cluster.get("/v1/models/ce")


def waiting(cluster: Cluster) -> int:
    """Requests that wait, over both API processes."""
    families = text_string_to_metric_families(httpx.get(f"{cluster.url}/metrics", timeout=30).text)
    return int(sum(s.value for family in families if family.name == "xinfer_model_queued_requests" for s in family.samples))


def test_load_adds_replicas_idleness_lets_them_go_and_a_request_wakes_the_model(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "3x24GiB", "--api-processes", "2")
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "--min-replica", "0", "--max-replica", "3", "--idle", "4")
    enough, codes = threading.Event(), []

    def keep_asking() -> None:
        while not enough.is_set():
            codes.append(rerank(cluster, 200).status_code)

    with ThreadPoolExecutor(8) as pool:
        askers = [pool.submit(keep_asking) for _ in range(8)]
        try:
            until(lambda: model(cluster)["ready_replicas"] == 3, "three replicas under load", 90)
            assert "→ 3: queue " in model(cluster)["scaling_why"]
        finally:
            enough.set()
        for asker in askers:
            asker.result()
    assert set(codes) == {200}

    until(lambda: model(cluster)["status"] == "ASLEEP" and not cluster.replicas("ce"), "the model asleep", 60)
    assert "asleep until a request comes (3 → 0: no request for 4 s)" in cluster.run("ps").stderr
    with ThreadPoolExecutor(4) as pool:
        woken = list(pool.map(lambda _: rerank(cluster, 2).status_code, range(4)))
    assert woken == [200] * 4
    assert model(cluster)["scaling_why"] == "0 → 1: a request came"
    assert [r["phase"] for r in cluster.replicas("ce")] == ["ready"], "many requests wake one replica"


def test_a_stop_answers_what_it_accepted_and_one_by_force_does_not(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--cpu-slots", "1", "--api-processes", "2")

    def while_busy(*flags: str) -> tuple[list[int], float]:
        cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
        with ThreadPoolExecutor(16) as pool:
            asked: list[Future[httpx.Response]] = [pool.submit(rerank, cluster, DOCUMENTS) for _ in range(16)]
            until(lambda: waiting(cluster) + sum(each.done() for each in asked) == 16, "all of them accepted")
            began = time.monotonic()
            cluster.run("stop", "ce", *flags)
            took = time.monotonic() - began
            assert rerank(cluster, 1).status_code == 404
            return [each.result().status_code for each in asked], took

    assert while_busy()[0] == [200] * 16
    codes, took = while_busy("--force")
    assert set(codes) - {200}, "nothing was left to fail"
    assert took < 15.0
