"""One replica over several devices: it sees all of them in order, each is charged its part, and a restart keeps them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.e2e.test_placement import strip
from tests.support.cluster import Cluster, until

DOCUMENTS = ["Berlin has 3.5 million inhabitants.", "The cat sat upon the mat.", "a b c"]


def scores(cluster: Cluster, uid: str) -> dict[int, float]:
    body = {"model": uid, "query": "how many people live in berlin?", "documents": DOCUMENTS}
    reply = httpx.post(cluster.url + "/v1/rerank", json=body, timeout=60)
    reply.raise_for_status()
    return {hit["index"]: hit["relevance_score"] for hit in reply.json()["results"]}


def reserved(cluster: Cluster, uid: str) -> dict[int, int]:
    """By device index."""
    devices = cluster.slots()["workers"][0]["devices"]
    return {d["index"]: r["reserved_bytes"] for d in devices for r in d["replicas"] if r["model_uid"] == uid}


def test_two_simulated_gpus_in_one_replica(cluster: Cluster, reranker_torch: Path) -> None:
    cluster.serve("--simulate-gpus", "4x24GiB")
    (worker,) = cluster.slots()["workers"]
    uuids = [device["uuid"] for device in worker["devices"]]
    model = ("-t", "rerank", "-mp", str(reranker_torch))
    whole = cluster.launch(*model, "-u", "one")["replicas"][0]
    (pair,) = cluster.launch(*model, "-u", "two", "--pin", f"{worker['address']}@3,1")["replicas"]
    assert (pair["slot"], pair["gpu_idx"]) == (f"{worker['address']}@3,1", [3, 1])
    assert [device["uuid"] for device in pair["devices"]] == [uuids[3], uuids[1]]
    assert psutil.Process(pair["pid"]).environ()["CUDA_VISIBLE_DEVICES"] == f"{uuids[3]},{uuids[1]}"
    charged = reserved(cluster, "two")
    assert set(charged) == {1, 3}
    assert charged[1] == charged[3] < 0.7 * whole["reserved_bytes"]
    assert "layers 3 + 9 on 2 devices" in stderr_of(cluster, "two-0")
    assert max(abs(scores(cluster, "one")[index] - score) for index, score in scores(cluster, "two").items()) < 1e-3
    assert f"{worker['address']}@3,1" in cluster.run("show", "two").stdout

    (free,) = cluster.launch(*model, "-u", "free", "--n-gpu", "2")["replicas"]
    assert (len(free["gpu_idx"]), 2 in free["gpu_idx"]) == (2, True), "the one that holds nothing is among them"
    listed = cluster.run("ps").stdout
    assert f"{worker['address']}@3,1" in listed
    assert free["slot"] in listed
    for row in ((1, "two-0 (ready)"), (3, "two-0 (ready)"), *((index, "free-0 (ready)") for index in free["gpu_idx"])):
        assert any(line.startswith(f"{worker['address']}@{row[0]}") and row[1] in line for line in cluster.run("slots").stdout.splitlines())

    for before in (pair, free):
        os.kill(before["pid"], signal.SIGKILL)
    for before in (pair, free):
        again = until(lambda: back(cluster, before), "the replica back on both", 90)  # noqa: B023
        assert (again["slot"], [d["uuid"] for d in again["devices"]]) == (before["slot"], [d["uuid"] for d in before["devices"]])
    assert set(reserved(cluster, "two")) == {1, 3}
    assert set(reserved(cluster, "free")) == set(free["gpu_idx"])
    cluster.run("stop", "two")
    until(lambda: not reserved(cluster, "two"), "both devices given back")


def test_a_plan_of_replicas_on_one_and_on_two_devices(cluster: Cluster, reranker_torch: Path) -> None:
    cluster.serve("--simulate-gpus", "4x24GiB")
    address = cluster.slots()["workers"][0]["address"]
    pins = ("--pin", f"{address}@0,1", "--pin", f"{address}@2")
    model = ("-t", "rerank", "-mp", str(reranker_torch), "-u", "mixed")
    plan = json.loads(cluster.run("plan", *model, *pins, "--json").stdout)
    assert [(r["slot"], r["gpu_idx"], len(r["device_names"])) for r in plan["replicas"]] == [
        (f"{address}@0,1", [0, 1], 2),
        (f"{address}@2", [2], 1),
    ]
    assert plan["replicas"][0]["reserved_bytes"] < plan["replicas"][1]["reserved_bytes"]
    assert f"{address}@0,1" in cluster.run("plan", *model, *pins).stdout
    launched = cluster.launch(*model, *pins)["replicas"]
    assert sorted(r["slot"] for r in launched) == [f"{address}@0,1", f"{address}@2"]
    body = {"model": "mixed", "query": "berlin", "documents": DOCUMENTS * 8}
    answer = httpx.post(cluster.url + "/v1/rerank", json=body, timeout=60)
    why = cluster.run("why", answer.headers["x-request-id"]).stdout
    assert any(slot in why for slot in (f"{address}@0,1", f"{address}@2")), why


def stderr_of(cluster: Cluster, replica: str) -> str:
    (file,) = (cluster.home / "logs").rglob(f"{replica}.stderr")
    return file.read_text()


def back(cluster: Cluster, before: dict[str, Any]) -> dict[str, Any] | None:
    (now,) = cluster.replicas(before["replica_model_uid"].rpartition("-")[0])
    return now if now["phase"] == "ready" and now["pid"] != before["pid"] else None


def test_an_engine_that_cannot_divide_a_model_refuses_before_anything_happens(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "2x24GiB")
    address = cluster.slots()["workers"][0]["address"]
    before = strip(cluster.slots())
    base = {"model_path": str(reranker_onnx), "model_type": "rerank", "model_uid": "ce"}
    for param, fields in {"n_gpu": {"n_gpu": 2}, "slots": {"slots": [f"{address}@0,1"]}, "gpu_idx": {"gpu_idx": [0, 1]}}.items():
        reply = httpx.post(cluster.url + "/v1/models", json={**base, **fields}, timeout=60)
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == param
        assert reply.json()["detail"].startswith(f"{param}: onnxruntime cannot divide a model over 2 devices")
    assert strip(cluster.slots()) == before
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    added = httpx.post(cluster.url + "/v1/models/ce/replicas", json={"n_gpu": 2}, timeout=60)
    assert (added.status_code, added.json()["error"]["param"]) == (400, "n_gpu")
    assert len(cluster.replicas("ce")) == 1


def test_two_cpu_slots_in_one_replica_are_their_cores_and_threads_together(cluster: Cluster, reranker_torch: Path) -> None:
    cluster.serve("--cpu-slots", "2")
    (worker,) = cluster.slots()["workers"]
    cores = sorted(core for device in worker["devices"] for core in device["cores"])
    (replica,) = cluster.launch("-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "--pin", f"{worker['address']}@0,1")["replicas"]
    process = psutil.Process(replica["pid"])
    assert sorted(process.cpu_affinity()) == cores
    assert process.environ()["OMP_NUM_THREADS"] == str(sum(int(d["name"].split(", ")[-1].split()[0]) for d in worker["devices"]))
    assert [device["uuid"] for device in replica["devices"]] == [device["uuid"] for device in worker["devices"]]
    assert set(reserved(cluster, "ce")) == {0, 1}
    assert len(scores(cluster, "ce")) == len(DOCUMENTS)
