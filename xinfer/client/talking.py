"""A chat's answer as it grows, and how it is asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
from httpx_sse import EventSource, aconnect_sse, connect_sse

from xinfer.client.failures import from_reply, from_transport
from xinfer.errors import ReplicaLost
from xinfer.schemas.chat import TokenUsage

PATH = "/v1/chat/completions"
DONE = "[DONE]"
Messages = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """More of an answer.

    Attributes:
        text: of the answer itself; ``reasoning``: of what the model says to itself.
        tool_calls: as the server sends them; the last piece has them whole.
        finish_reason: "stop", "length" or "tool_calls", with the last piece that says something.
        usage: with the very last piece.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str | None = None
    usage: TokenUsage | None = None


def body_of(model: str, messages: Messages, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request; one text is one message of the user."""
    given = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(message) for message in messages]
    return {"model": model, "messages": given, **{name: value for name, value in options.items() if value is not None}}


def follow(http: httpx.Client, base_url: str, body: Mapping[str, Any], timeout: httpx.Timeout) -> Generator[ChatPiece, None, None]:
    """See ``Client.chat_stream``."""
    try:
        with connect_sse(http, "POST", PATH, json=_streamed(body), timeout=timeout) as source:
            if not source.response.is_success:
                source.response.read()
            for sent in _checked(source).iter_sse():
                if sent.data == DONE:
                    return
                yield _piece(sent.data)
    except httpx.HTTPError as error:
        raise from_transport(error, base_url) from error
    raise ReplicaLost("The answer broke off.")


async def follow_async(
    http: httpx.AsyncClient, base_url: str, body: Mapping[str, Any], timeout: httpx.Timeout
) -> AsyncGenerator[ChatPiece, None]:
    """See ``AsyncClient.chat_stream``."""
    try:
        async with aconnect_sse(http, "POST", PATH, json=_streamed(body), timeout=timeout) as source:
            if not source.response.is_success:
                await source.response.aread()
            async for sent in _checked(source).aiter_sse():
                if sent.data == DONE:
                    return
                yield _piece(sent.data)
    except httpx.HTTPError as error:
        raise from_transport(error, base_url) from error
    raise ReplicaLost("The answer broke off.")


def _streamed(body: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def _checked(source: EventSource) -> EventSource:
    reply = source.response
    if not reply.is_success:
        raise from_reply(reply.status_code, reply.content, reply.headers)
    return source


def _piece(data: str) -> ChatPiece:
    event = json.loads(data)
    if "error" in event:
        raise from_reply(500, data.encode(), {})
    usage = event.get("usage")
    piece = ChatPiece(usage=None if usage is None else TokenUsage.model_validate(usage))
    if not event["choices"]:
        return piece
    choice = event["choices"][0]
    delta = choice["delta"]
    return replace(
        piece,
        text=delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or "",
        tool_calls=tuple(delta.get("tool_calls") or ()),
        finish_reason=choice["finish_reason"],
    )
