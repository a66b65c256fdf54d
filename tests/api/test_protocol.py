"""Raw requests over a socket: what a parser, not a route, has to get right."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import Server

BODY = json.dumps({"model": "ce", "query": "q", "documents": ["a", "bb"]}).encode()
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


def exchange(server: Server, *parts: bytes) -> tuple[int, bytes]:
    """Send the parts, ask for the connection to end, and read all of the answer: status and body."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        for part in parts:
            link.sendall(part)
        got = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def post(headers: bytes, body: bytes = BODY) -> bytes:
    """A rerank request."""
    return b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\n" + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("cut", [None, 20, -10], ids=["at once", "split in the head", "split in the body"])
def test_a_body_survives_the_offer_of_an_upgrade(server: Server, cut: int | None) -> None:
    """Java's client offers h2c with its first POST."""
    whole = post(OFFER.replace(b"Upgrade, ", b"Upgrade, close, "))
    parts = (whole,) if cut is None else (whole[:cut], whole[cut:])
    if cut == 20:
        parts = (whole[: whole.index(b"HTTP2-Settings: A")], whole[whole.index(b"HTTP2-Settings: A") :])
    status, body = exchange(server, *parts)
    assert status == 200, body
    assert [r["index"] for r in json.loads(body)["results"]] == [1, 0]


def test_the_connection_goes_on_after_an_offer(server: Server) -> None:
    """Two requests on one connection, the first with an offer."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        link.sendall(post(OFFER))
        stream = link.makefile("rb")
        assert stream.readline().split()[1] == b"200"
        length = next(int(line.split(b":")[1]) for line in iter(stream.readline, b"\r\n") if line.lower().startswith(b"content-length"))
        stream.read(length)
        link.sendall(post(b""))
        assert stream.readline().split()[1] == b"200"


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"FOO /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        post(b"Transfer-Encoding: chunked\r\n"),
        b"GET /healthz HTTP/1.1\r\nUpgrade: h2c\r\nContent-Length: -3\r\n\r\n",
    ],
    ids=["words", "TLS", "method", "two lengths", "length below zero"],
)
def test_what_is_not_http_gets_the_one_error_body(server: Server, sent: bytes) -> None:
    """Not a line of plain text, which clients cannot read."""
    status, body = exchange(server, sent)
    assert status == 400
    assert json.loads(body)["detail"] == "The request is not valid HTTP/1.1."


@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
def test_a_compressed_body_is_refused_by_name(server: Server, encoding: bytes) -> None:
    """Rather than called invalid UTF-8."""
    status, body = exchange(server, post(b"Connection: close\r\nContent-Encoding: " + encoding + b"\r\n", b"\x1f\x8b\x08\x00"))
    assert status == 415
    assert json.loads(body)["detail"] == f"Content-Encoding must be left out: {encoding.decode()} bodies are not taken."


def test_chunked_and_untyped_bodies_are_read(server: Server) -> None:
    """No Content-Type, no Content-Length."""
    head = b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _ = exchange(server, head, b"%x\r\n" % 10 + BODY[:10] + b"\r\n", b"%x\r\n" % len(BODY[10:]) + BODY[10:] + b"\r\n0\r\n\r\n")
    assert status == 200
