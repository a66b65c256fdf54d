"""An API process on a socket over sleeping replicas, for tests of chats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from tests.api.fakes import ports
from tests.api.sleeping_replicas import SleepingReplicas
from xinfer.api.app import create_app
from xinfer.api.protocol import Http
from xinfer.api.streams import Streams
from xinfer.catalog.spec import ModelType
from xinfer.settings import Limits, Timings

WAIT = 10.0
HI = [{"role": "user", "content": "hello"}]


@dataclass
class Chat:
    """An API process on a socket, without its actor pool."""

    url: str
    replicas: SleepingReplicas
    streams: Streams
    http: httpx.AsyncClient
    version: int = 1

    def announce(self, **more: Any) -> None:
        """What the supervisor would tell."""
        self.version += 1
        self.streams.update_routes(self.replicas.table(self.version, **more))

    async def post(self, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
        given = {"model": "chat", "messages": HI} if "chat" in path else {"model": "chat"}
        return await self.http.post(path, json={**given, **body})

    async def events(self, path: str = "/v1/chat/completions", **body: Any) -> list[Any]:
        """Of a stream, the last one is ``[DONE]``."""
        reply = await self.post(path, stream=True, **body)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"].startswith("text/event-stream")
        found = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
        return [each if each == "[DONE]" else json.loads(each) for each in found]


async def served() -> AsyncIterator[Chat]:
    replicas = SleepingReplicas()
    inference, control = ports()
    streams = Streams(replicas, lambda routes: routes.spec.type is ModelType.LLM, limits=Limits(), timings=Timings())
    app = create_app(inference, control, streams=streams, limits=Limits(), version="1")
    await replicas.start("a")
    inference.table = replicas.table()
    streams.update_routes(inference.table)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", http=Http, ws="none"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(WAIT):
        while not server.started:
            await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        yield Chat(url, replicas, streams, http)
    await streams.close()
    server.should_exit = True
    await serving
    await replicas.close()
