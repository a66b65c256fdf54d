"""`xinfer bench` against a real cluster: rerank, embeddings, bulk beside, the bare model on the same texts."""

from __future__ import annotations

import json
import signal
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, until
from xinfer.bench.bare_process import Task
from xinfer.bench.ceiling import measure
from xinfer.bench.load import Kind, Load

TORCH = ("-en", "sentence_transformers", "--dtype", "float32")


@pytest.fixture(scope="module")
def served(shared_cluster: Cluster, reranker_torch: Path, minilm_embedding: Path) -> Cluster:
    shared_cluster.serve("--cpu-slots", "2")
    shared_cluster.launch("-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "-r", "2", *TORCH)
    shared_cluster.launch("-t", "embedding", "-mp", str(minilm_embedding), "-u", "emb", *TORCH)
    return shared_cluster


def bench(cluster: Cluster, tmp_path: Path, *flags: str, code: int = 0) -> Any:
    file = tmp_path / "bench.json"
    done = cluster.run("bench", *flags, "--words", "5-20", "--json", str(file), ok=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(file.read_text())


def test_rerank_by_replica_with_a_picture(served: Cluster, tmp_path: Path) -> None:
    found = bench(served, tmp_path, "-u", "ce", "-n", "12", "--docs", "10", "-c", "6", "--svg", str(tmp_path / "b.svg"))
    summary = found["summary"]
    assert (summary["requests"], summary["ok"], summary["documents"], found["failed"]) == (12, 12, 120, 0)
    assert 0 < summary["latency"]["p50"] <= summary["latency"]["p99"] <= summary["latency"]["max"]
    assert summary["tokens_per_second"] > summary["documents_per_second"]
    assert sum(each["documents"] for each in found["replicas"]) == 120
    assert {each["slot"] for each in found["replicas"]} == {each["slot"] for each in served.replicas("ce")}
    assert all(0 < each["busy"] <= summary["seconds"] + 0.5 for each in found["replicas"] if each["documents"])
    assert ElementTree.parse(tmp_path / "b.svg").getroot().tag.endswith("svg")


def test_embeddings_and_both_in_turn(served: Cluster, tmp_path: Path) -> None:
    found = bench(served, tmp_path, "-u", "emb", "--kind", "embedding", "-n", "6", "--docs-cycle", "3,1")
    assert (found["summary"]["ok"], found["summary"]["documents"]) == (6, 12)
    found = bench(served, tmp_path, "-u", "ce", "--kind", "mixed", "--embedding-model", "emb", "-n", "4", "--docs", "2", "--rate", "20")
    assert found["summary"]["ok"] == 4
    assert {each["name"].rpartition("-")[0] for each in found["replicas"] if each["documents"]} == {"ce", "emb"}


def test_small_requests_beside_bulk(served: Cluster, tmp_path: Path) -> None:
    found = bench(
        served, tmp_path, "-u", "ce", "-n", "4", "--docs-cycle", "1,2", "-c", "1", "--background", "2", "--priority", "interactive"
    )
    assert (found["alone"]["ok"], found["summary"]["ok"], found["failed"]) == (4, 4, 0)
    assert found["bulk"]["alone"] > 0
    assert found["bulk"]["beside"] > 0


def test_time_ends_a_run_and_ctrl_c_too_with_the_figures_so_far(served: Cluster, tmp_path: Path) -> None:
    found = bench(served, tmp_path, "-u", "ce", "--docs", "2", "-c", "2", "--duration", "1")
    assert found["summary"]["ok"] > 0
    assert not found["interrupted"]

    before = served.get("/v1/models/ce/replicas")
    file = tmp_path / "cut.json"
    command = served.begin("xinfer", "bench", "-u", "ce", "--docs", "2", "-c", "2", "--duration", "600", "--json", str(file))
    asked = sum(replica["documents"] for replica in before)
    until(lambda: sum(replica["documents"] for replica in served.get("/v1/models/ce/replicas")) > asked + 10, "some answers", 60)
    command.process.send_signal(signal.SIGINT)
    assert command.process.wait(30) == 130
    cut = json.loads(file.read_text())
    assert cut["interrupted"]
    assert cut["summary"]["ok"] > 0


def test_failures_are_told_by_kind_and_end_with_1(served: Cluster, tmp_path: Path) -> None:
    found = bench(served, tmp_path, "-u", "nobody", "-n", "3", code=1)
    ((kind, count, sentence),) = found["summary"]["failures"]
    assert (kind, count) == ("HTTP 404", 3)
    assert "nobody" in sentence


@pytest.mark.parametrize("single", [False, True])
def test_the_bare_model_reads_the_same_texts(served: Cluster, tmp_path: Path, reranker_torch: Path, single: bool) -> None:
    load = Load(Kind.RERANK, sizes=(5,), words=(5, 20))
    bare = measure(Task(reranker_torch, load, 2, single=single), 1 if single else 2)
    sent = bench(served, tmp_path, "-u", "ce", "-n", "2", "--docs", "5")["summary"]
    assert bare.documents == sent["documents"] == 10
    assert bare.tokens_per_second * bare.seconds == pytest.approx(sent["tokens_per_second"] * sent["seconds"])
    assert bool(bare.latency) is single


def test_more_processes_than_documents_are_not_started(reranker_torch: Path) -> None:
    assert measure(Task(reranker_torch, Load(sizes=(1,), words=(5, 5)), 1), 2).documents == 1
