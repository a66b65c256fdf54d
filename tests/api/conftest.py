"""The application over its fakes, in process and on a loopback socket."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from tests.api.chat_server import Chat, served
from tests.api.event_replicas import FakeReplicas, turn, zero
from tests.api.fakes import FakeControl, FakeInference, ports
from tests.api.few_answers import FewAnswers
from tests.api.keyholders import KEYS, NOW, TOKEN, Guarded
from tests.api.sleeping_replicas import SPEC as CHAT_SPEC
from tests.api.sleeping_replicas import M as CHAT
from xinfer.api.app import create_app
from xinfer.api.dispatch import Dispatcher
from xinfer.api.protocol import Http
from xinfer.cluster.routes import ModelRoutes
from xinfer.settings import Limits, Timings

LIMITS = Limits(body_bytes=200_000, documents=1000)


@dataclass
class Api:
    """An application with the fakes behind it and an HTTP client in front."""

    app: FastAPI
    inference: FakeInference
    control: FakeControl
    http: httpx.AsyncClient


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """In process: no socket."""
    inference, control = ports()
    app = create_app(inference, control, streams=FewAnswers(), limits=LIMITS, version="1.2.3", supervisor_address="10.0.0.9:5000")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        yield Api(app, inference, control, http)


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    """With keys."""
    inference, control = ports()
    inference.table = replace(inference.table, keys=KEYS, models={**inference.table.models, CHAT: ModelRoutes(CHAT, CHAT_SPEC)})
    control.state = replace(control.state, keys=KEYS)
    app = create_app(inference, control, streams=FewAnswers(), limits=LIMITS, version="1", cluster_token=TOKEN, clock=lambda: NOW)
    app.state.feed.close()  # its stream ends after the snapshot
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        yield Guarded(app, inference, control, http)


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    """A language model that only sleeps, on one replica named a."""
    async for it in served():
        yield it


@dataclass
class Server:
    """The same on a loopback socket, for clients that bring their own HTTP."""

    url: str
    inference: FakeInference
    control: FakeControl


@pytest.fixture
def server() -> Iterator[Server]:
    """uvicorn in a thread, on a port of its own."""
    inference, control = ports()
    app = create_app(inference, control, streams=FewAnswers(), limits=LIMITS, version="1.2.3")
    started = threading.Event()

    class Told(uvicorn.Server):
        async def startup(self, sockets: object = None) -> None:
            await super().startup()
            started.set()

    it = Told(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", http=Http, ws="none"))
    thread = threading.Thread(target=it.run, daemon=True)
    thread.start()
    assert started.wait(20)
    port = it.servers[0].sockets[0].getsockname()[1]
    yield Server(f"http://127.0.0.1:{port}", inference, control)
    it.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
async def replicas() -> FakeReplicas:
    """They answer when the test says so."""
    return FakeReplicas()


@pytest.fixture
async def dispatcher(replicas: FakeReplicas) -> AsyncIterator[Dispatcher]:
    """On the test's own loop; afterwards nothing may be left in flight, nor any complaint unheard."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    made = Dispatcher(replicas, limits=Limits(), timings=Timings(hold_for_replica=0.2))
    yield made
    await turn()
    assert zero(made)
    await made.close()
    gc.collect()
    assert complaints == []
