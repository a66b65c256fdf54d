"""Two API processes on one port: each serves, and what one of them knows can be asked of either."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.cluster import Cluster, until


def test_the_story_of_a_request_is_found_from_any_process(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "1", "--api-processes", "2")
    assert command.child("api.main").is_running()
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    body = {"model": "ce", "query": "q", "documents": ["a", "b"]}

    def served(request_id: str) -> bool:
        reply = httpx.post(cluster.url + "/v1/rerank", json=body, headers={"x-request-id": request_id}, timeout=60)
        return reply.status_code == 200

    until(lambda: all(served(f"warm-{n}") for n in range(10)), "both processes route", 30)
    for number in range(10):
        assert served(f"asked-{number}")
        for _ in range(4):  # each ask may land on either process
            story = httpx.get(f"{cluster.url}/v1/requests/asked-{number}/why", timeout=30)
            assert story.status_code == 200, story.text
    assert httpx.get(f"{cluster.url}/v1/requests/nobody/why", timeout=30).status_code == 404
