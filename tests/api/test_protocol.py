"""Raw requests over a socket: what a parser, not a route, has to get right."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import BinaryIO
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import Server
from xinfer.api import protocol

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


def test_headers_without_an_end_are_431(server: Server) -> None:
    """Nothing bounds them in the parser."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(OSError):
            for number in range(64):
                link.sendall(b"X-%d: " % number + b"y" * 4096 + b"\r\n")
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := link.recv(65536):
                got += piece
    assert got.split()[1] == b"431"
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["code"] == "headers_too_large"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "PAUSE_SECONDS", 0.2)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", ""),
        (b"POST /v1/rerank HTT", "The headers did not come within 0.2 s."),
        (b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nX-Slow: ", "The headers did not come within 0.2 s."),
        (post(b"")[:-5], "The body stopped for 0.2 s."),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea", "The headers did not come within 0.2 s."),
        (post(OFFER)[:-5], ""),
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "half a second request", "half a body after an offer"],
)
def test_what_is_half_said_is_hung_up_on(server: Server, said: bytes, sentence: str) -> None:
    """Slow on purpose or not, a connection is not held for ever; the recv below ends when the server has closed it."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as link:
        link.sendall(said)
        got = b"".join(iter(lambda: link.recv(65536), b""))
    assert got.count(b" 408 ") == (1 if sentence else 0)
    assert sentence.encode() in got
    assert server.inference.calls == []


@pytest.mark.usefixtures("hasty")
def test_patience_is_not_for_work(server: Server) -> None:
    """A request that is complete is waited for, however long the model takes."""
    server.inference.delay = 0.7
    status, _ = exchange(server, post(b"Connection: close\r\n"))
    assert status == 200


def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(server: Server) -> None:
    """The answer is there while the client still has all to send, and the connection can be used again."""
    where = urlsplit(server.url)
    length = 5_000_000
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        link.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
        stream = link.makefile("rb")
        assert read_reply(stream) == 413
        link.sendall(b"x" * length)
        link.sendall(post(b""))
        assert read_reply(stream) == 200


def read_reply(stream: BinaryIO) -> int:
    """One reply with a Content-Length off a connection that goes on; its status."""
    status = int(stream.readline().split()[1])
    lengths = [int(line.split(b":")[1]) for line in iter(stream.readline, b"\r\n") if line.lower().startswith(b"content-length")]
    stream.read(lengths[0] if lengths else 0)
    return status


def test_one_connection_through_every_refusal(server: Server) -> None:
    """What a client sends after an answer it did not like is a request of its own: no byte of the body before is left over."""
    gzip = b"Content-Encoding: gzip\r\n"
    bad = b'{"model": 7}' + b" " * 100_000
    head = b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    options = b"OPTIONS /v1/rerank HTTP/1.1\r\nHost: x\r\n\r\n"
    expected = [
        (post(gzip, b"\x1f\x8b" * 50_000), 415),
        (post(b"", bad), 400),
        (options, 405),
        (post(b"").replace(b"/v1/rerank", b"/no"), 404),
    ]
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        stream = link.makefile("rb")
        for sent, status in expected:
            link.sendall(sent)
            assert read_reply(stream) == status
            link.sendall(post(b""))
            assert read_reply(stream) == 200
        link.sendall(head)
        assert stream.readline().split()[1] == b"200"


def test_requests_in_a_row_are_answered_in_that_row(server: Server) -> None:
    """Pipelining: sent before the first is answered."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        link.sendall(post(b"") + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"") + post(b"", b"{}"))
        stream = link.makefile("rb")
        assert [read_reply(stream) for _ in range(4)] == [200, 404, 200, 400]


@pytest.mark.parametrize(("length", "first"), [(len(BODY), b"100"), (5_000_000, b"413")], ids=["wanted", "too long"])
def test_a_client_that_asks_before_it_sends(server: Server, length: int, first: bytes) -> None:
    """Expect: 100-continue, as curl does with large bodies."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as link:
        link.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
        stream = link.makefile("rb")
        assert stream.readline().split()[1] == first
        if first == b"100":
            assert stream.readline() == b"\r\n"
            link.sendall(BODY)
            assert stream.readline().split()[1] == b"200"
