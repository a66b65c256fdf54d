"""Client and AsyncClient: one set of methods, retries, and errors rebuilt."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificates import make_certificate
from xinfer.client import AsyncClient, Client, Retry
from xinfer.client import clients as module
from xinfer.errors import (
    AlreadyExists,
    ConfigError,
    DeadlineExceeded,
    Forbidden,
    LaunchFailed,
    ModelNotFound,
    NoFit,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
    XinferError,
)

FAST = Retry(attempts=3, base=0.0, most=0.0)
RERANKED = {"id": "1", "model": "ce", "results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 3}, "added_later": 1}


def methods(kind: type) -> dict[str, Any]:
    return {n: m for n, m in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}


def test_the_two_clients_have_the_same_methods_and_signatures() -> None:
    one, other = methods(Client), methods(AsyncClient)
    assert set(one) == set(other)
    for name, method in one.items():
        assert list(inspect.signature(method).parameters.items()) == list(inspect.signature(other[name]).parameters.items()), name
        assert name in {"events", "chat_stream"} or inspect.iscoroutinefunction(other[name]), name  # that is an iterator
        assert method.__doc__, name
    wanted = (
        "rerank embed launch stop list show replicas add_replicas remove_replica plan slots workers progress why version wait_ready healthz"
    )
    assert set(wanted.split()) <= set(one)


class Both:
    """Sends the same call through both clients over one handler."""

    def __init__(self, handler: Callable[[httpx.Request], httpx.Response], retry: Retry = FAST) -> None:
        self.seen: list[httpx.Request] = []

        def note(request: httpx.Request) -> httpx.Response:
            self.seen.append(request)
            return handler(request)

        self._transport = httpx.MockTransport(note)
        self._retry = retry

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        results = []
        with Client("http://srv", transport=self._transport, retry=self._retry) as client:
            results.append(self._outcome(lambda: getattr(client, name)(*args, **kwargs)))

        async def use() -> Any:
            async with AsyncClient("http://srv", transport=self._transport, retry=self._retry) as client:
                return await getattr(client, name)(*args, **kwargs)

        results.append(self._outcome(lambda: asyncio.run(use())))
        first, second = results
        if isinstance(first, XinferError):
            assert (type(first), str(first), first.details) == (type(second), str(second), second.details)
            raise first
        assert first == second
        return first

    @staticmethod
    def _outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except XinferError as error:
            return error


def reply(status: int, body: Any = None, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_rerank_sends_only_what_was_given_and_ignores_what_is_new() -> None:
    both = Both(reply(200, RERANKED))
    result = both("rerank", "ce", "q", ["a", {"text": "b"}], top_n=1, priority="bulk", request_id="r1")
    assert (result.results[0].index, result.results[0].relevance_score, result.usage.total_tokens) == (1, 0.9, 3)
    for request in both.seen:
        assert json.loads(request.content) == {"model": "ce", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}
        assert (request.headers["x-priority"], request.headers["x-request-id"]) == ("bulk", "r1")


def test_embed_asks_for_base64_and_orders_by_index() -> None:
    data = [{"index": 1, "embedding": "AACAPw=="}, {"index": 0, "embedding": "AAAAPw=="}]
    both = Both(reply(200, {"model": "emb", "data": data, "usage": {"total_tokens": 2}}))
    assert both("embed", "emb", ("x", "y")).vectors == [[0.5], [1.0]]
    assert json.loads(both.seen[0].content) == {"model": "emb", "input": ["x", "y"], "encoding_format": "base64"}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "model_not_found", ModelNotFound),
        (400, "no_fit", NoFit),
        (400, "already_exists", AlreadyExists),
        (500, "launch_failed", LaunchFailed),
    ],
)
def test_errors_are_rebuilt_by_code(status: int, code: str, kind: type[XinferError]) -> None:
    error = {"message": "so it is", "type": "t", "code": code, "param": "model", "details": {"refusals": [1], "message": "x"}}
    with pytest.raises(XinferError) as caught:
        Both(reply(status, {"detail": "so it is", "error": error}))("show", "x")
    assert (type(caught.value), str(caught.value), caught.value.param, caught.value.details) == (
        kind,
        "so it is",
        "model",
        {"refusals": [1]},
    )


@pytest.mark.parametrize(("status", "kind"), [(502, Unavailable), (504, DeadlineExceeded), (418, XinferError), (500, XinferError)])
def test_a_reply_that_is_not_ours(status: int, kind: type[XinferError]) -> None:
    with pytest.raises(kind, match=f"answered {status}"):
        Both(lambda _: httpx.Response(status, text="<html>"))("version")


def test_busy_and_away_are_tried_again_within_bounds() -> None:
    busy = {"detail": "full", "error": {"message": "full", "code": "too_many_requests"}}
    answers = [
        httpx.Response(429, json=busy, headers={"retry-after": "0"}),
        httpx.Response(503),
        httpx.Response(200, json={"version": "9"}),
    ]
    with Client("http://srv", transport=httpx.MockTransport(lambda _: answers.pop(0)), retry=FAST) as client:
        assert client.version() == "9"
    both = Both(reply(429, busy, retry_after="0"))
    with pytest.raises(TooManyRequests):
        both("version")
    assert len(both.seen) == 2 * FAST.attempts


def test_a_pause_longer_than_the_bound_is_left_to_the_caller() -> None:
    both = Both(reply(429, {"detail": "x"}, retry_after="60"))
    with pytest.raises(TooManyRequests) as caught:
        both("version")
    assert caught.value.retry_after == 60
    assert len(both.seen) == 2


def raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


@pytest.mark.parametrize(
    ("name", "args", "error", "tries"),
    [
        ("version", (), httpx.ConnectError("refused"), FAST.attempts),
        ("version", (), httpx.ReadError("reset"), FAST.attempts),
        ("rerank", ("ce", "q", ["a"]), httpx.RemoteProtocolError("closed"), FAST.attempts),
        ("stop", ("m",), httpx.ConnectError("refused"), FAST.attempts),
        ("stop", ("m",), httpx.ReadError("reset"), 1),
        ("add_replicas", ("m",), httpx.RemoteProtocolError("closed"), 1),
    ],
)
def test_a_broken_link_is_tried_again_only_where_that_is_harmless(name: str, args: tuple[Any, ...], error: Exception, tries: int) -> None:
    both = Both(raising(error))
    with pytest.raises(Unreachable, match="http://srv"):
        both(name, *args)
    assert len(both.seen) == 2 * tries


def test_a_launch_is_never_sent_twice_when_the_supervisor_is_away() -> None:
    both = Both(reply(503, {"error": {"message": "away", "code": "supervisor_unreachable"}}))
    with pytest.raises(Unavailable):
        both("launch", "tiny", wait=False)
    assert len(both.seen) == 2


def test_a_slow_answer_is_a_deadline() -> None:
    both = Both(raising(httpx.ReadTimeout("slow")))
    with pytest.raises(DeadlineExceeded):
        both("version")
    assert len(both.seen) == 2


def test_launch_waits_in_polls() -> None:
    polls = iter([False, True, False, True])

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            assert json.loads(request.content) == {"model_name": "tiny", "replica": 2, "threads": 4}
            assert request.url.params["wait_ready"] == "false"
            return httpx.Response(200, json={"model_uid": "org/tiny"})
        assert request.url.raw_path.startswith(b"/v1/models/org%2Ftiny/ready?timeout=")
        return httpx.Response(200, json={"model_uid": "org/tiny", "ready": next(polls)})

    both = Both(handler)
    assert both("launch", "tiny", replica=2, threads=4, slots=None) == "org/tiny"
    assert [r.method for r in both.seen] == ["POST", "GET", "GET"] * 2


def test_wait_ready_gives_up_in_time() -> None:
    with pytest.raises(DeadlineExceeded, match="not ready after 0 s"):
        Both(reply(200, {"ready": False}))("wait_ready", "m", 0)


def test_endpoint_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINFER_ENDPOINT", "http://else:1/v1/")
    monkeypatch.setenv("XINFER_API_KEY", "secret")
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"status": "ok"})

    with Client(transport=httpx.MockTransport(handler)) as client:
        assert client.healthz()
    assert (str(seen[0].url), seen[0].headers["authorization"]) == ("http://else:1/healthz", "Bearer secret")
    assert Client("http://mine").base_url == "http://mine"
    assert Client("http://127.0.0.1:1")._http.trust_env is False
    assert Client("http://far")._http.trust_env is True


def test_whom_an_https_client_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    for kind in (Client, AsyncClient):
        with pytest.raises(ConfigError, match=r"The CA file .* cannot be read: No such file"):
            kind("https://h", ca_file=str(file))
        kind("http://h", ca_file=str(file))
    file.write_text("no PEM")
    monkeypatch.setenv("XINFER_CA_FILE", str(file))
    with pytest.raises(ConfigError, match="holds no certificates in PEM format"):
        Client("https://h")
    pair = make_certificate(tmp_path)
    Client("https://h", ca_file=str(pair.certfile)).close()


def test_keys_and_the_refusals_that_they_bring() -> None:
    made = {"id": "1", "name": "ci", "admin": False, "allow": ["infer:ce"], "state": "valid", "created_at": 1.0}
    both = Both(reply(200, {**made, "secret": "xk-1"}))
    assert both("create_key", "ci", allow=("infer:ce",), expires_in=5).secret == "xk-1"
    assert json.loads(both.seen[0].content) == {"name": "ci", "admin": False, "allow": ["infer:ce"], "expires_in": 5}
    assert Both(reply(200, {"keys": [made]}))("keys")[0].state == "valid"
    both = Both(reply(200, {**made, "state": "revoked", "revoked_at": 2.0}))
    assert both("revoke_key", "a b").revoked_at == 2.0
    assert both.seen[0].url.raw_path == b"/v1/keys/a%20b"
    for status, kind in ((401, Unauthorized), (403, Forbidden)):
        with pytest.raises(kind, match="without saying why"):
            Both(reply(status, {}))("list")


def test_importing_the_package_is_cheap() -> None:
    look = """
import sys, xinfer
assert not {"httpx", "pydantic", "asyncio"} & set(sys.modules)
xinfer.Client
assert "httpx" in sys.modules
"""
    subprocess.run([sys.executable, "-c", look], check=True)
    import xinfer

    assert xinfer.Client is module.Client
    with pytest.raises(AttributeError):
        _ = xinfer.Nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "url"),
    [("10.0.0.1:9997", "http://10.0.0.1:9997"), ("http://h:1/v1/", "http://h:1"), (" https://h ", "https://h"), ("h/v1", "http://h")],
)
def test_an_address_without_a_scheme_is_http(given: str, url: str) -> None:
    with Client(given) as client:
        assert client.base_url == url


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_help_shows_what_a_method_takes_and_gives(kind: type[Client] | type[AsyncClient]) -> None:
    """On the class and on an object: not one parameter short, and the reply instead of the call."""
    signature = inspect.signature(kind.rerank)
    assert [*signature.parameters][:4] == ["self", "model", "query", "documents"]
    assert signature.return_annotation == "RerankReply"
    assert [*inspect.signature(kind("http://x").rerank).parameters][:2] == ["model", "query"]
    for name, method in vars(kind).items():
        if not name.startswith("_") and callable(method):
            assert inspect.getdoc(method), name
            assert "Call[" not in str(inspect.signature(method)) or name == "send"
