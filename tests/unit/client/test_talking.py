"""A chat's answer as it grows, from a server that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from xinfer.client import AsyncClient, ChatPiece, Client
from xinfer.errors import EngineError, InvalidItem, ReplicaLost, Unreachable


def chunk(content: str = "", finish: str | None = None, **delta: Any) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}]})


USAGE = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
WHOLE = [chunk("Hel", role="assistant"), chunk(reasoning_content="hm"), chunk("lo", "stop"), USAGE, "[DONE]"]


def says(*events: str, status: int = 200) -> tuple[list[Any], Callable[[httpx.Request], httpx.Response]]:
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        text = "".join(f"data: {event}\n\n" for event in events) if status == 200 else events[0]
        kind = "text/event-stream" if status == 200 else "application/json"
        return httpx.Response(status, text=text, headers={"content-type": kind})

    return asked, answer


def told(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> list[ChatPiece]:
    with Client("http://server", transport=httpx.MockTransport(answer)) as client:
        return list(client.chat_stream("m", "hi", **options))


def test_pieces_and_usage() -> None:
    asked, answer = says(*WHOLE)
    pieces = told(answer, max_tokens=5, seed=None)
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert "".join(piece.reasoning for piece in pieces) == "hm"
    assert [piece.finish_reason for piece in pieces] == [None, None, "stop", None]
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == 2
    (body,) = asked
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert (body["stream"], body["max_tokens"], "seed" in body) == (True, 5, False)


async def test_the_same_in_asyncio() -> None:
    _, answer = says(*WHOLE)
    async with AsyncClient("http://server", transport=httpx.MockTransport(answer)) as client:
        assert "".join([piece.text async for piece in client.chat_stream("m", [{"role": "user", "content": "hi"}])]) == "Hello"


def test_an_error_before_and_one_in_mid_answer_are_those_of_the_tree() -> None:
    error = {"error": {"message": "too long", "code": "invalid_item", "param": "messages"}}
    with pytest.raises(InvalidItem, match="too long"):
        told(says(json.dumps(error), status=400)[1])
    broken = json.dumps({"error": {"message": "no more", "code": "engine_error", "param": None}})
    with pytest.raises(EngineError, match="no more"):
        told(says(WHOLE[0], broken)[1])


def test_an_answer_that_breaks_off_is_no_whole_one() -> None:
    with pytest.raises(ReplicaLost, match="broke off"):
        told(says(*WHOLE[:2])[1])


def test_no_server() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable):
        told(refuse)


def test_the_whole_answer_at_once() -> None:
    reply = {
        "id": "chatcmpl-1", "created": 1, "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    }  # fmt: skip
    with Client("http://server", transport=httpx.MockTransport(lambda request: httpx.Response(200, json=reply))) as client:
        assert client.chat("m", "hi", max_tokens=5).choices[0]["message"]["content"] == "Hello"
