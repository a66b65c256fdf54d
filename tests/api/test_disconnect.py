"""A client that hangs up, and one that aborts: the dispatch is cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from tests.api.conftest import Api

BODY = {"model": "ce", "query": "q", "documents": ["a"]}


class Hung:
    """One raw ASGI request whose client can hang up."""

    def __init__(self, app: FastAPI, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> None:
        self._gone = asyncio.Event()
        self._messages = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        self.sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
            "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
        }
        self.over = asyncio.ensure_future(app(scope, self._receive, self._send))  # type: ignore[arg-type]

    def hang_up(self) -> None:
        """As if the socket had closed."""
        self._gone.set()

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def test_hanging_up_cancels_the_dispatch(api: Api) -> None:
    api.inference.block = asyncio.Event()
    hung = Hung(api.app, "POST", "/v1/rerank", BODY)
    await asyncio.wait_for(api.inference.entered.wait(), 5)
    assert not api.inference.cancelled.is_set()
    hung.hang_up()
    await asyncio.wait_for(api.inference.cancelled.wait(), 5)
    await asyncio.wait_for(hung.over, 5)
    assert hung.status == 499


async def test_aborting_by_request_id(api: Api) -> None:
    api.inference.block = asyncio.Event()
    running = Hung(api.app, "POST", "/v1/rerank", BODY, {"x-request-id": "slow-1"})
    await asyncio.wait_for(api.inference.entered.wait(), 5)
    other = await api.http.post("/v1/models/ce/requests/other/abort", json={"block_duration": 30})
    assert other.json() == {"aborted": 0}
    assert not api.inference.cancelled.is_set()
    reply = await api.http.post("/v1/models/ce/requests/slow-1/abort", json={"block_duration": 30})
    assert reply.json() == {"aborted": 1}
    await asyncio.wait_for(running.over, 5)
    assert api.inference.cancelled.is_set()
    assert running.status == 499
    assert (await api.http.post("/v1/models/ce/requests/slow-1/abort", json={})).json() == {"aborted": 0}


async def test_an_answer_and_a_hang_up_in_one_turn(api: Api) -> None:
    """Whichever is seen first, the task is not cancelled later, in the middle of something else."""
    api.inference.block = asyncio.Event()
    for _ in range(3):
        hung = Hung(api.app, "POST", "/v1/rerank", BODY)
        await asyncio.wait_for(api.inference.entered.wait(), 5)
        hung.hang_up()
        api.inference.block.set()
        await asyncio.wait_for(hung.over, 5)
        assert hung.status in (200, 499)
        api.inference.block.clear()
        api.inference.entered.clear()


async def test_a_server_that_stops_is_not_taken_for_an_abort(api: Api) -> None:
    api.inference.block = asyncio.Event()
    hung = Hung(api.app, "POST", "/v1/rerank", BODY)
    await asyncio.wait_for(api.inference.entered.wait(), 5)
    hung.over.cancel()
    await asyncio.wait({hung.over}, timeout=5)
    assert hung.over.cancelled()
    assert hung.sent == []
