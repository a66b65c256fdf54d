"""`why` and /metrics of a real cluster say the same, and it adds up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.cluster import Cluster
from tests.support.load import documents
from xinfer.client import Client

ITEMS = 40
PROCESSES = ("api-0", "api-1")


@pytest.fixture(scope="module")
def served(shared_cluster: Cluster, reranker_torch: Path) -> Cluster:
    shared_cluster.serve("--cpu-slots", "2", "--api-processes", "2")
    shared_cluster.launch(
        "-t", "rerank", "-mp", str(reranker_torch), "-u", "ce", "-r", "2", "-en", "sentence_transformers", "--dtype", "float32"
    )
    return shared_cluster


@pytest.fixture(scope="module")
def story(served: Cluster) -> dict[str, Any]:
    """Of a rerank that nothing was before or beside."""
    with Client(served.url) as client:
        assert len(client.rerank("ce", "how high is it", documents(ITEMS, seed=3), request_id="asked").results) == ITEMS
        return client.why("asked")


def scraped(served: Cluster, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each sample of that name."""
    text = httpx.get(served.url + "/metrics", timeout=30).text
    return [(s.labels, s.value) for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]


def batches_of(story: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(replica, batch), each once: a batch may have run for two shards."""
    found = {(shard["replica_id"], *batch.values()): batch for shard in story["shards"] for batch in shard["batches"]}
    return [(key[0], batch) for key, batch in found.items()]


def test_the_story_adds_up(story: dict[str, Any]) -> None:
    assert (story["outcome"], story["items"], story["attempt_count"]) == ("ok", ITEMS, 0)
    assert sum(shard["items"] for shard in story["shards"]) == ITEMS
    assert sum(shard["tokens"] for shard in story["shards"]) == story["tokens"]
    for shard in story["shards"]:
        assert shard["items"] == shard["shard_items"] <= sum(batch["items"] for batch in shard["batches"])
        assert shard["tokens"] == shard["shard_tokens"] <= sum(batch["real_tokens"] for batch in shard["batches"])
        assert shard["batch_count"] == len(shard["batches"])
        assert all(batch["padded_tokens"] == batch["items"] * batch["longest"] for batch in shard["batches"])
        assert sum(batch["seconds"] for batch in shard["batches"]) == pytest.approx(shard["compute_seconds"])
        parts = sum(shard[f"{part}_seconds"] for part in ("wait", "tokenize", "compute", "network"))
        assert parts == pytest.approx(shard["total_seconds"])
        assert shard["queue_seconds"] + shard["total_seconds"] <= story["seconds"]
        assert [candidate["won"] for candidate in shard["candidates"]].count(True) == 1
    batches = batches_of(story)
    assert sum(batch["items"] for _, batch in batches) == ITEMS
    assert sum(batch["real_tokens"] for _, batch in batches) == story["tokens"]
    assert {replica["replica_id"] for replica in story["replicas"]} >= {shard["replica_id"] for shard in story["shards"]}


def test_metrics_count_what_the_story_tells(served: Cluster, story: dict[str, Any]) -> None:
    batches = batches_of(story)
    for name, field in (("tokens_total", "real_tokens"), ("padded_tokens_total", "padded_tokens"), ("batch_tokens_sum", "padded_tokens")):
        for labels, value in scraped(served, f"xinfer_replica_{name}"):
            assert value == sum(batch[field] for replica, batch in batches if replica == labels["replica"]), (name, labels)
    assert sum(value for _, value in scraped(served, "xinfer_replica_padding_ratio_count")) == len(batches)
    assert sum(value for _, value in scraped(served, "xinfer_replica_wait_seconds_count")) == len(story["shards"])
    waited = sum(value for _, value in scraped(served, "xinfer_replica_wait_seconds_sum"))
    assert waited == pytest.approx(sum(shard["wait_seconds"] for shard in story["shards"]))


def test_every_scrape_has_both_processes(served: Cluster, story: dict[str, Any]) -> None:
    for _ in range(4):  # each may land on either
        requests = scraped(served, "xinfer_request_seconds_count")
        assert sorted(labels["process"] for labels, _ in requests) == list(PROCESSES)
        assert sum(value for _, value in requests) == 1
        assert sum(value for _, value in scraped(served, "xinfer_queue_seconds_count")) == len(story["shards"])


def test_the_command_line_tells_it(served: Cluster, story: dict[str, Any]) -> None:
    told = json.loads(served.run("why", "asked", "--json").stdout)
    assert told == story
    rows = served.run("why", "asked").stdout.splitlines()
    assert len(rows) == 1 + len(story["shards"])
    assert served.run("why", "nobody", ok=False).returncode == 4
