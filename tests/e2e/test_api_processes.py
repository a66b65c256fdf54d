"""Two API processes on one port: each serves, and what one of them knows can be asked of either."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import httpx
import psutil

from tests.support.cluster import Cluster, Command, until


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


def api_processes(command: Command) -> list[psutil.Process]:
    found = []
    for process in command.tree()[1:]:
        with contextlib.suppress(psutil.Error):
            if "api.main" in process.environ().get("XINFER_PROCESS", ""):
                found.append(process)
    return found


def held(process: psutil.Process, port: int) -> int:
    """Connections to the REST port that it has taken."""
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in process.net_connections(kind="tcp"))


def connect(cluster: Cluster) -> socket.socket:
    """A connection that has been answered on, and goes on."""
    link = socket.create_connection(("127.0.0.1", cluster.port), timeout=30)
    link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert link.recv(65536).split()[1] == b"200"
    return link


def test_connections_are_spread_and_one_process_is_enough(cluster: Cluster, reranker_onnx: Path) -> None:
    command = cluster.serve("--cpu-slots", "1", "--api-processes", "2")
    until(lambda: "ready at" in command.log.read_text(), "both processes listen")
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    first, second = api_processes(command)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(cluster))
        shares = [held(process, cluster.port) for process in (first, second)]
        assert sum(shares) == 40
        assert min(shares) >= 10, shares
    first.kill()
    body = {"model": "ce", "query": "q", "documents": ["a", "b"]}
    for _ in range(20):  # none is refused, also while the other starts again
        assert httpx.post(cluster.url + "/v1/rerank", json=body, timeout=60).status_code == 200
    until(lambda: len(api_processes(command)) == 2, "the killed one is there again")
    assert second.is_running()
