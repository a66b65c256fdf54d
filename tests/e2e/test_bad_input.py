"""Whatever arrives: a right answer or a 4xx in one sentence; no 500, no dead replica."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.cluster import Cluster, until
from tests.support.load import Outcome, documents, rerank


@pytest.fixture(scope="module")
def served(shared_cluster: Cluster, reranker_onnx: Path) -> Iterator[Cluster]:
    shared_cluster.serve("--cpu-slots", "2")
    shared_cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce", "-r", "2")
    before = {r["pid"] for r in shared_cluster.replicas("ce")}
    yield shared_cluster
    after = shared_cluster.replicas("ce")
    assert {r["pid"] for r in after} == before
    assert all(r["restarts"] == 0 for r in after)


GOOD = {"model": "ce", "query": "q", "documents": ["a", "b", "c"]}
BODIES: list[tuple[str, object, int, str]] = [
    ("empty documents", {**GOOD, "documents": []}, 400, "documents"),
    ("null documents", {**GOOD, "documents": None}, 400, "documents"),
    ("a null document", {**GOOD, "documents": ["a", None]}, 400, "documents"),
    ("a number document", {**GOOD, "documents": ["a", 7]}, 400, "documents"),
    ("numbers only", {**GOOD, "documents": 7}, 400, "documents"),
    ("an empty document", {**GOOD, "documents": ["", "b"]}, 200, ""),
    ("a number query", {**GOOD, "query": 7}, 400, "query"),
    ("no query", {"model": "ce", "documents": ["a"]}, 400, "query"),
    ("no model", {"query": "q", "documents": ["a"]}, 400, "model"),
    ("negative top_n", {**GOOD, "top_n": -1}, 400, "top_n"),
    ("string top_n", {**GOOD, "top_n": "many"}, 400, "top_n"),
    ("null top_n", {**GOOD, "top_n": None}, 200, ""),
    ("large top_n", {**GOOD, "top_n": 1000}, 200, ""),
    ("unknown model", {**GOOD, "model": "nobody"}, 404, "nobody"),
    ("string boolean", {**GOOD, "return_documents": "true"}, 200, ""),
    ("text objects", {**GOOD, "documents": [{"text": "a"}, {"text": "b"}]}, 200, ""),
    ("unknown fields", {**GOOD, "kwargs": "{}", "user": "me"}, 200, ""),
    ("a 1 MB document", {**GOOD, "documents": ["word " * 200_000, "b"]}, 200, ""),
    ("emoji and nulls", {**GOOD, "documents": ["\U0001f40d\u0000\u200f", "\n\t "]}, 200, ""),
    ("an array body", [1, 2], 400, ""),
    ("embedding on a reranker", {"model": "ce", "input": "x", "_path": "/v1/embeddings"}, 400, "ce"),
]


@pytest.mark.parametrize(("name", "body", "status", "named"), BODIES, ids=[b[0] for b in BODIES])
def test_bodies(served: Cluster, name: str, body: object, status: int, named: str) -> None:
    path = "/v1/rerank"
    if isinstance(body, dict) and "_path" in body:
        path = body["_path"]
        body = {k: v for k, v in body.items() if k != "_path"}
    reply = httpx.post(served.url + path, json=body, timeout=120)
    assert reply.status_code == status, (name, reply.text)
    if status == 200:
        assert len(reply.json()["results"]) == len(body["documents"])  # type: ignore[index,call-overload]
    else:
        check_error(reply, named)


def check_error(reply: httpx.Response, named: str) -> None:
    error = reply.json()
    assert isinstance(error["detail"], str)
    assert "\n" not in error["detail"]
    assert named in error["detail"]
    assert set(error["error"]) >= {"message", "type", "code", "param"}


RAW = [
    b"",
    b"{",
    b"nonsense",
    b'{"model": "ce", "query": "\xff\xfe", "documents": ["a"]}',
    b'{"model": "ce", "query": "\\ud800", "documents": ["a"]}',
    b"\x00" * 100,
    b"[" * 10_000,
]


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/embeddings", "/rerank", "/embed", "/v1/models", "/v1/plan"])
def test_bytes_that_are_no_json(served: Cluster, raw: bytes, path: str) -> None:
    reply = httpx.post(served.url + path, content=raw, headers={"content-type": "application/json"}, timeout=30)
    assert reply.status_code in (200, 400, 413, 422) or (reply.status_code == 404 and "model" in reply.text), reply.text
    assert reply.status_code != 200 or b"ud800" in raw


def test_ten_thousand_documents(served: Cluster) -> None:
    texts = [f"document number {n} of the archive" for n in range(10_000)]
    reply = httpx.post(served.url + "/v1/rerank", json={**GOOD, "documents": texts}, timeout=300)
    assert reply.status_code == 200, reply.text[:300]
    assert sorted(r["index"] for r in reply.json()["results"]) == list(range(10_000))


def test_six_hundred_requests_at_once(served: Cluster) -> None:
    async def burst() -> Outcome:
        outcome = Outcome()
        async with httpx.AsyncClient(base_url=served.url, timeout=300, limits=httpx.Limits(max_connections=None)) as client:
            await asyncio.gather(*(rerank(client, "ce", documents(1, seed=n), outcome) for n in range(600)))
        return outcome

    outcome = asyncio.run(burst())
    assert (outcome.right, dict(outcome.wrong)) == (600, {})


def test_a_body_over_the_limit_is_413(served: Cluster) -> None:
    body = json.dumps({**GOOD, "documents": ["x" * (65 * 1024 * 1024)]}).encode()
    reply = httpx.post(served.url + "/v1/rerank", content=body, timeout=120)
    assert reply.status_code == 413
    check_error(reply, "")


def test_tei_shapes_and_errors(served: Cluster) -> None:
    reply = httpx.post(served.url + "/rerank", json={"query": "q", "texts": ["a", "b"], "return_text": True}, timeout=60)
    assert {(r["index"], r["text"]) for r in reply.json()} == {(0, "a"), (1, "b")}
    bad = httpx.post(served.url + "/rerank", json={"query": "q", "texts": []}, timeout=60)
    assert bad.status_code in (400, 422)
    assert set(bad.json()) >= {"error", "error_type"}


def test_unknown_paths_are_json_404(served: Cluster) -> None:
    reply = httpx.get(served.url + "/v1/nothing")
    assert reply.status_code == 404
    check_error(reply, "")


def connect(served: Cluster) -> socket.socket:
    where = httpx.URL(served.url)
    return socket.create_connection((where.host, where.port), timeout=30)


def idle(served: Cluster) -> bool:
    return all(r["queue"] == 0 and r["in_flight"] == 0 for r in served.replicas("ce"))


@pytest.mark.parametrize("how", ["closed", "reset", "in the body"])
def test_a_client_that_hangs_up_leaves_no_work_behind(served: Cluster, how: str) -> None:
    name = f"gone-{how.replace(' ', '-')}"
    body = json.dumps({**GOOD, "documents": ["word " * 300 + str(n) for n in range(3000)]}).encode()
    head = f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nX-Request-ID: {name}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connect(served) as link:
        link.sendall(head + (body[:1000] if how == "in the body" else body))
        if how != "in the body":
            until(lambda: not idle(served), "the replicas work on it")
        if how == "reset":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: idle(served), "nothing waits any more", 20)
    story = httpx.get(f"{served.url}/v1/requests/{name}/why")
    assert story.status_code == 404 if how == "in the body" else story.json()["outcome"] == "cancelled"


def test_idle_and_half_said_connections_are_in_nobody_s_way(served: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(500):
            link = stack.enter_context(connect(served))
            if number % 2:
                link.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert httpx.post(served.url + "/v1/rerank", json=GOOD, timeout=10).status_code == 200


def test_the_offer_of_http_2_costs_no_body(served: Cluster) -> None:
    """Java's client makes it with its first POST."""
    body = json.dumps(GOOD).encode()
    with connect(served) as link:
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        link.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\n" + offer + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert link.recv(65536).split()[1] == b"200"
