"""Replicas land on the devices they were meant for, and everything that cannot be is refused without a trace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.cluster import Cluster, until

TINY = "200MiB"


@pytest.fixture(scope="module")
def two_workers(shared_cluster: Cluster) -> Cluster:
    """A supervisor and two workers of 4 simulated GPUs each."""
    shared_cluster.supervisor()
    shared_cluster.worker("--simulate-gpus", "4x24GiB")
    shared_cluster.worker("--simulate-gpus", "4x24GiB")
    return shared_cluster


def addresses(cluster: Cluster) -> tuple[str, str]:
    a, b = sorted(w["address"] for w in cluster.slots()["workers"])
    return a, b


def stop(cluster: Cluster, uid: str) -> None:
    cluster.run("stop", uid)
    until(lambda: uid not in cluster.run("ps", "--json").stdout, f"{uid} gone")


def placed(launched: dict[str, list[dict[str, object]]]) -> list[object]:
    return sorted(str(r["slot"]) for r in launched["replicas"])


def test_two_simulated_gpus_get_one_replica_each_and_environments_differ(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.serve("--simulate-gpus", "2x24GiB")
    launched = cluster.launch("-n", "ce", "-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "-r", "2")
    replicas = sorted(launched["replicas"], key=lambda r: r["gpu_idx"])
    assert [r["gpu_idx"] for r in replicas] == [[0], [1]] or [r["gpu_idx"] for r in replicas] == [0, 1]
    environments = [psutil.Process(r["pid"]).environ() for r in replicas]
    seen = [e["CUDA_VISIBLE_DEVICES"] for e in environments]
    assert seen == [r["device"]["uuid"] for r in replicas]
    assert len(set(seen)) == 2


def test_pins_by_every_spelling(two_workers: Cluster, reranker_onnx: Path) -> None:
    a, b = addresses(two_workers)
    path = str(reranker_onnx)
    pinned = two_workers.launch("-t", "rerank", "-mp", path, "-u", "pin", "--pin", f"{a}@3", "--pin", f"{b}@1")
    assert placed(pinned) == sorted([f"{a}@3", f"{b}@1"])
    stop(two_workers, "pin")

    body = {
        "model_path": path,
        "model_type": "rerank",
        "model_uid": "cfg",
        "replica_config": [{"devices": [{"worker_ip": a, "gpu_idx": [3]}]}, {"devices": [{"worker_ip": b, "gpu_idx": [1]}]}],
    }
    httpx.post(two_workers.url + "/v1/models", json=body, timeout=240).raise_for_status()
    assert sorted(r["slot"] for r in two_workers.replicas("cfg")) == sorted([f"{a}@3", f"{b}@1"])
    stop(two_workers, "cfg")

    by_index = two_workers.launch("-t", "rerank", "-mp", path, "-u", "idx", "-r", "2", "--gpu-idx", "0,2", "--worker-ip", a)
    assert placed(by_index) == [f"{a}@0", f"{a}@2"]
    stop(two_workers, "idx")


def test_eight_replicas_spread_one_per_device(two_workers: Cluster, reranker_onnx: Path) -> None:
    a, b = addresses(two_workers)
    plan = json.loads(two_workers.run("plan", "-t", "rerank", "-mp", str(reranker_onnx), "-u", "all", "-r", "8", "--json").stdout)
    launched = two_workers.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "all", "-r", "8")
    assert placed(launched) == sorted(f"{w}@{i}" for w in (a, b) for i in range(4))
    assert sorted(r["slot"] for r in plan["replicas"]) == placed(launched)
    stop(two_workers, "all")


REFUSED = [
    ({"worker_ip": "10.9.9.9:1"}, "worker_ip"),
    ({"gpu_idx": 9, "worker_ip": "A"}, "gpu_idx"),
    ({"replica": 3, "gpu_idx": [0, 1], "worker_ip": "A"}, "gpu_idx"),
    ({"replica": 1, "gpu_idx": [1, 1], "worker_ip": "A"}, "gpu_idx"),
    ({"gpu_index": 1}, "gpu_index"),
    ({"slot": ["A@0"]}, "slot"),
    ({"replica_config": [{"devices": [{"worker_ip": "A", "gpu_indx": [0]}]}]}, "gpu_indx"),
    ({"replica": 0}, "replica"),
    ({"replica": -1}, "replica"),
    ({"slots": ["A@0,0"]}, "slots"),
    ({"slots": ["A@0"], "replica": 2}, "slots"),
    ({"n_worker": 2}, "n_worker"),
    ({"model_path": None, "model_name": "no-such-model"}, "model_name"),
    ({"model_path": "EMPTY"}, "model_path"),
    ({"model_path": "/no/such/folder"}, "model_path"),
    ({"memory": "100GiB"}, "memory"),
    ({"model_type": "poetry"}, "model_type"),
    ({"model_engine": "abacus"}, "model_engine"),
    ({"dtype": "float12"}, "dtype"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED, ids=[json.dumps(c) for c, _ in REFUSED])
def test_what_cannot_be_is_refused_in_one_sentence_and_changes_nothing(
    two_workers: Cluster, reranker_onnx: Path, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    a, _ = addresses(two_workers)
    base = {"model_path": str(reranker_onnx), "model_type": "rerank", "model_uid": "refused", "model_engine": "onnxruntime"}
    body = json.loads(json.dumps({**base, **change}).replace('"A', f'"{a}').replace('"EMPTY"', json.dumps(str(tmp_path))))
    before = two_workers.get("/v1/cluster/slots"), two_workers.get("/v1/models")
    reply = httpx.post(two_workers.url + "/v1/models", json=body, timeout=60)
    after = two_workers.get("/v1/cluster/slots"), two_workers.get("/v1/models")
    assert reply.status_code in (400, 404), reply.text
    error = reply.json()
    assert isinstance(error["detail"], str)
    assert field in error["detail"] or error["error"]["param"] == field, error
    assert "\n" not in error["detail"]
    assert strip(before) == strip(after)


def strip(state: object) -> object:
    """Without what moves by itself: free memory, ages, utilisation."""
    moving = ("free", "last", "age", "util", "observed")
    if isinstance(state, dict):
        return {k: strip(v) for k, v in state.items() if not any(m in k for m in moving)}
    if isinstance(state, list | tuple):
        return [strip(v) for v in state]
    return state


def test_memory_that_does_not_fit_names_every_slot(two_workers: Cluster, reranker_onnx: Path) -> None:
    body = {"model_path": str(reranker_onnx), "model_type": "rerank", "memory": "30GiB"}
    reply = httpx.post(two_workers.url + "/v1/models", json=body, timeout=60)
    assert reply.status_code == 400
    plan = httpx.post(two_workers.url + "/v1/plan", json=body, timeout=60).json()
    assert plan["fits"] is False
    assert len(plan["refused"]) == 8
    assert all(r["reason"] for r in plan["refused"])


def test_supervisor_and_api_processes_map_no_torch(two_workers: Cluster) -> None:
    for command in two_workers.commands:
        for process in command.tree():
            mapped = {os.path.basename(m.path) for m in process.memory_maps()}
            assert not any("torch" in m for m in mapped), (process.cmdline(), mapped)


def test_thirty_simulated_workers_in_one_process(cluster: Cluster, reranker_onnx: Path) -> None:
    cluster.supervisor()
    command = cluster.begin("xinfer-worker", "-e", cluster.url, "--simulate-gpus", "8x24GiB", "--simulate-workers", "30")
    cluster.wait_workers(30, command)
    workers = cluster.slots()["workers"]
    assert len({w["worker_id"] for w in workers}) == len({w["address"] for w in workers}) == 30
    assert len({d["uuid"] for w in workers for d in w["devices"]}) == 240
    plan = json.loads(cluster.run("plan", "-t", "rerank", "-mp", str(reranker_onnx), "-u", "all", "-r", "240", "--json").stdout)
    assert len({r["slot"] for r in plan["replicas"]}) == 240
