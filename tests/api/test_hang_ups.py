"""The API process as it runs, on a socket: its dispatcher over replicas that answer when the test says so, and a supervisor that counts."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from tests.api.event_replicas import Call, FakeReplicas, route, table, zero
from tests.api.few_answers import FewAnswers
from xinfer.api.app import create_app
from xinfer.api.dispatch import Dispatcher
from xinfer.api.links import ReplicaCalls, SupervisorControl
from xinfer.api.protocol import Http
from xinfer.settings import Limits, Timings

WAIT = 10.0


class Counting:
    """Stands where the supervisor's reference does and notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(name)
            return ()

        return call


@dataclass
class Process:
    """One API process without its actor pool."""

    url: str
    port: int
    dispatcher: Dispatcher
    replicas: FakeReplicas
    supervisor: Counting

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def idle(self) -> None:
        """Until nothing is queued or in flight."""
        async with asyncio.timeout(WAIT):
            while not zero(self.dispatcher):
                await asyncio.sleep(0.01)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    replicas, supervisor = FakeReplicas(), Counting()
    dispatcher = Dispatcher(replicas, limits=Limits(), timings=Timings())
    dispatcher.update_routes(table(route("m-0")))
    control = SupervisorControl(supervisor, ReplicaCalls(), dispatcher.routes, dispatcher.update_routes)  # type: ignore[arg-type]
    app = create_app(dispatcher, control, streams=FewAnswers(), limits=Limits(body_bytes=200_000), version="1")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, http=Http, ws="none", lifespan="off", log_level="warning", timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve([listening]))
    yield Process(f"http://127.0.0.1:{port}", port, dispatcher, replicas, supervisor)
    server.should_exit = True
    await serving
    await dispatcher.close()


def post(documents: list[str], name: str = "") -> bytes:
    body = json.dumps({"model": "m", "query": "q", "documents": documents}).encode()
    return (
        b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nX-Request-ID: %s\r\nX-Priority: bulk\r\nContent-Length: %d\r\n\r\n"
        % (name.encode(), len(body))
        + body
    )


def hang_up(writer: asyncio.StreamWriter, how: str) -> None:
    if how == "reset":
        writer.transport.abort()
    else:
        writer.close()


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_while_the_replica_computes_its_call_is_cancelled(process: Process, how: str) -> None:
    _, writer = await process.connect()
    writer.write(post(["a", "b"]))
    await process.replicas.until(lambda: len(process.replicas.calls) == 1)
    hang_up(writer, how)
    await process.idle()
    assert process.replicas.calls == [], "the call has ended: a real one is cancelled at the replica"
    assert len(process.replicas.seen) == 1


async def test_while_it_waits_in_the_queue_it_never_reaches_a_replica(process: Process) -> None:
    _, first = await process.connect()
    first.write(post(["word " * 400 + str(n) for n in range(40)], "first"))
    await process.replicas.until(lambda: len(process.replicas.calls) >= 1)
    _, second = await process.connect()
    second.write(post(["in vain"] * 3, "second"))
    async with asyncio.timeout(WAIT):
        while (process.dispatcher.why("second") or {}).get("outcome") != "running":
            await asyncio.sleep(0.01)
    hang_up(second, "closed")
    async with asyncio.timeout(WAIT):
        while (process.dispatcher.why("second") or {}).get("outcome") != "cancelled":
            await asyncio.sleep(0.01)
    process.replicas.auto = Call.ok
    for call in list(process.replicas.calls):
        call.ok()
    await process.idle()
    sent = [item.pair for call in process.replicas.seen for item in call.items]
    assert "in vain" not in sent
    assert len(sent) == 40
    first.close()


async def test_while_its_body_is_read_nothing_is_dispatched(process: Process) -> None:
    _, writer = await process.connect()
    writer.write(post(["a"], "half")[:-3])
    await writer.drain()
    hang_up(writer, "closed")
    process.replicas.auto = Call.ok
    async with httpx.AsyncClient(base_url=process.url, timeout=WAIT) as client:
        reply = await client.post("/v1/rerank", json={"model": "m", "query": "q", "documents": ["b"]})
    assert reply.status_code == 200
    assert [item.pair for call in process.replicas.seen for item in call.items] == ["b"]
    assert process.dispatcher.why("half") is None


async def test_an_abort_cancels_the_call_at_the_replica(process: Process) -> None:
    reader, writer = await process.connect()
    writer.write(post(["a"], "slow"))
    await process.replicas.until(lambda: len(process.replicas.calls) == 1)
    async with httpx.AsyncClient(base_url=process.url, timeout=WAIT) as client:
        assert (await client.post("/v1/models/m/requests/slow/abort", json={})).json() == {"aborted": 1}
    assert (await reader.readline()).split()[1] == b"499"
    await process.idle()
    assert process.replicas.calls == []
    writer.close()


async def test_no_request_asks_the_supervisor(process: Process) -> None:
    """100 of them, with their metrics and stories: the supervisor is not on the data path."""
    process.replicas.auto = Call.ok
    async with httpx.AsyncClient(base_url=process.url, timeout=WAIT) as client:
        for number in range(100):
            body = {"model": "m", "query": "q", "documents": ["a", "b"]}
            reply = await client.post("/v1/rerank", json=body, headers={"x-request-id": f"r{number}"})
            assert reply.status_code == 200, reply.text
        assert (await client.get("/v1/requests/r99/why")).status_code == 200
        assert process.supervisor.asked == []
        await client.get("/v1/cluster/slots")
    assert process.supervisor.asked, "the counter counts"
