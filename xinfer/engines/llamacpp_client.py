"""Talks to the llama.cpp server of this process, over a socket in a folder that only this user can enter.

Its own thread holds the connections: one for each answer, and closing one ends the answer within a step.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from xinfer.errors import EngineError, InvalidItem

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for a call that generates nothing."""
PIECES = 10_000
"""Texts of several tokens whose ids are kept."""
Event = Mapping[str, Any]


class Client:
    """All calls to one server."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="xinfer-llamacpp", daemon=True)
        self._thread.start()
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._pieces: dict[str, tuple[int, ...]] = {}
        self._session: aiohttp.ClientSession = self._wait(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(self._path, limit=0)
        return aiohttp.ClientSession("http://llama.cpp", connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    def _wait(self, call: Coroutine[Any, Any, T], timeout: float = PATIENCE) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(timeout)

    def ask(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One call with one answer, from any other thread.

        Raises:
            InvalidItem: the server refuses what it is given; EngineError: anything else.
        """
        return self._wait(self._ask(path, body))

    async def _ask(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            async with self._session.post(path, json=body) as reply:
                if reply.status >= 400:
                    raise refusal(reply.status, await reply.text())
                found: Mapping[str, Any] = await reply.json()
                return found
        except aiohttp.ClientError as error:
            raise EngineError(f"llama.cpp does not answer: {error}") from error

    def stream(self, key: str, body: Mapping[str, Any], told: Callable[[str, Event | Exception], None]) -> None:
        """Begin one answer; ``told`` hears its events in the thread of this client, an exception as the last."""

        def begin() -> None:
            task = self._loop.create_task(self._stream(key, body, told))
            self._streams[key] = task
            task.add_done_callback(lambda _: self._streams.pop(key, None))

        self._loop.call_soon_threadsafe(begin)

    async def _stream(self, key: str, body: Mapping[str, Any], told: Callable[[str, Event | Exception], None]) -> None:
        ended, told_of = False, 0
        try:
            async with self._session.post("/completion", json=body) as reply:
                if reply.status >= 400:
                    raise refusal(reply.status, await reply.text())
                async for line in reply.content:
                    name, _, data = line.partition(b": ")
                    if name == b"data":
                        event = json.loads(data)
                        ended |= bool(event.get("stop"))
                        predicted = event.get("tokens_predicted", told_of)
                        if event.get("content") and predicted - told_of > len(event["tokens"]):
                            event["tokens"] = await self._tokens(event["content"])
                        told_of = predicted
                        told(key, event)
                    elif name == b"error":
                        raise refusal(500, data.decode("utf-8", "replace"))
            if not ended:
                raise EngineError("llama.cpp broke the answer off.")
        except aiohttp.ClientError as error:
            told(key, EngineError(f"llama.cpp broke the answer off: {error}"))
        except (InvalidItem, EngineError) as error:
            told(key, error)

    async def _tokens(self, text: str) -> tuple[int, ...]:
        """Ids of a text. Of those that together made one letter the server names the last alone."""
        found = self._pieces.get(text)
        if found is None:
            reply = await self._ask("/tokenize", {"content": text, "add_special": False, "parse_special": False})
            if len(self._pieces) >= PIECES:
                self._pieces.clear()
            found = self._pieces[text] = tuple(reply["tokens"])
        return found

    def cancel(self, key: str) -> None:
        """Hang up."""

        def end() -> None:
            if (task := self._streams.get(key)) is not None:
                task.cancel()

        self._loop.call_soon_threadsafe(end)

    def close(self) -> None:
        """Hang up on everything."""
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    async def _end(self) -> None:
        for task in list(self._streams.values()):
            task.cancel()
        await asyncio.gather(*self._streams.values(), return_exceptions=True)
        await self._session.close()


def refusal(status: int, text: str) -> InvalidItem | EngineError:
    """What the server said, as one of ours."""
    try:
        error = json.loads(text)
        error = error.get("error", error)
        message = str(error.get("message", text))
        status = int(error.get("code", status))
    except (ValueError, AttributeError, TypeError):
        message = text
    message = message.strip().splitlines()[-1][:300] if message.strip() else f"status {status}"
    return InvalidItem(f"the model cannot take this: {message}") if status < 500 else EngineError(f"llama.cpp: {message}")
