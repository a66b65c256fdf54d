"""Answers in Anthropic's shape, whole or as the events of a stream. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from xinfer.api.speech import Said, Speech
from xinfer.errors import XinferError

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "stop": "end_turn"}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_kind(status: int) -> str:
    """Anthropic's word for a status."""
    return _KINDS.get(status, "invalid_request_error" if status < 500 else "overloaded_error" if status == 503 else "api_error")


def failure(error: XinferError) -> bytes:
    """An error in mid-stream: the end of it."""
    return event("error", {"error": {"type": error_kind(error.http_status), "message": error.message, "code": error.code}})


def event(kind: str, content: dict[str, Any]) -> bytes:
    """One named event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **content}) + b"\n\n"


def stop_reason(speech: Speech) -> str | None:
    """Why it ended."""
    return "stop_sequence" if speech.stopped_by is not None else _REASONS.get(speech.finish or "")


def usage(speech: Speech) -> dict[str, int]:
    """Counts."""
    return {
        "input_tokens": speech.prompt_tokens - speech.cached_tokens,
        "cache_read_input_tokens": speech.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": speech.tokens,
    }


def message(name: str, model: str, speech: Speech) -> dict[str, Any]:
    """The whole answer."""
    content: list[dict[str, Any]] = []
    if speech.reasoning:
        content.append({"type": "thinking", "thinking": speech.reasoning, "signature": ""})
    if speech.content or not speech.calls:
        content.append({"type": "text", "text": speech.content})
    content += [{"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)} for call in speech.calls.values()]
    end = {"stop_reason": stop_reason(speech), "stop_sequence": speech.stopped_by, "usage": usage(speech)}
    return {**_frame(name, model), "content": content, **end}


def _frame(name: str, model: str) -> dict[str, Any]:
    return {"id": name, "type": "message", "role": "assistant", "model": model}


def _input(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:  # cut off
        return {}


class MessageEvents:
    """The events of one answer: blocks one after the other, each of one kind."""

    def __init__(self, name: str, model: str, speech: Speech) -> None:
        self._name, self._model, self._speech = name, model, speech
        self._begun = False
        self._index = -1
        self._open = ""  # kind of the block that is open

    def said(self, index: int, said: Said) -> bytes:
        """More of it."""
        told = b""
        if not self._begun:
            self._begun = True
            start: dict[str, Any] = {
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {**usage(self._speech), "output_tokens": 0},
            }
            told += event("message_start", {"message": {**_frame(self._name, self._model), **start}})
        if said.reasoning:
            told += self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            told += self._delta({"type": "thinking_delta", "thinking": said.reasoning})
        if said.content:
            told += self._block("text", {"type": "text", "text": ""})
            told += self._delta({"type": "text_delta", "text": said.content})
        for number in sorted({*said.begun, *said.arguments}):
            if (call := said.begun.get(number)) is not None:
                told += self._block(f"call {number}", {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
            if more := said.arguments.get(number):
                told += self._delta({"type": "input_json_delta", "partial_json": more})
        return told

    def _block(self, kind: str, block: dict[str, Any]) -> bytes:
        if self._open == kind:
            return b""
        closed = self._close()
        self._open = kind
        self._index += 1
        return closed + event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> bytes:
        told = event("content_block_stop", {"index": self._index}) if self._open else b""
        self._open = ""
        return told

    def end(self) -> bytes:
        """It has come to its end."""
        first = self._block("text", {"type": "text", "text": ""}) if self._index < 0 else b""
        delta = {"stop_reason": stop_reason(self._speech), "stop_sequence": self._speech.stopped_by}
        last = event("message_delta", {"delta": delta, "usage": usage(self._speech)})
        return first + self._close() + last + event("message_stop", {})
