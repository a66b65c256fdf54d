"""Answers in OpenAI's shape, whole or as the chunks of a stream. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from xinfer.api.speech import Call, Said, Speech
from xinfer.errors import XinferError
from xinfer.generation.job import TokenLogprob

DONE = b"data: [DONE]\n\n"


def event(content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"


def failure(error: XinferError) -> bytes:
    """An error in mid-stream: the end of it."""
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    return event({"error": {"message": error.message, "type": kind, "code": error.code, "param": error.param}})


def usage(speeches: Sequence[Speech], prompts: int = 1) -> dict[str, Any]:
    """Counts of a request with so many prompts; each is counted once, however many answers it has."""
    each = max(1, len(speeches) // prompts)
    prompt = sum(speech.prompt_tokens for speech in speeches[::each])
    tokens = sum(speech.tokens for speech in speeches)
    cached = sum(speech.cached_tokens for speech in speeches[::each])
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


@dataclass(frozen=True, slots=True)
class Frame:
    """What is the same in all chunks of a request."""

    id: str
    created: int
    model: str


class ChatChunks:
    """The chunks of one conversation's answers."""

    def __init__(self, frame: Frame, speeches: Sequence[Speech], include_usage: bool) -> None:
        self._frame = frame
        self._speeches = speeches
        self._include_usage = include_usage
        self._begun: set[int] = set()

    def _chunk(self, choices: list[Any], **more: Any) -> bytes:
        frame = self._frame
        head = {"id": frame.id, "object": "chat.completion.chunk", "created": frame.created, "model": frame.model}
        return event({**head, "choices": choices, **more})

    def said(self, index: int, said: Said) -> bytes:
        """More of one answer; b"" if there is nothing to tell."""
        first = index not in self._begun
        if said.empty and not first:
            return b""
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        self._begun.add(index)
        delta["content"] = said.content
        if said.reasoning:
            delta["reasoning_content"] = said.reasoning
        logprobs = chat_logprobs(said.logprobs)
        speech = self._speeches[index]
        if said.finish == "tool_calls":
            # The last chunk has the calls whole: some clients read them there, and only there.
            told = self._chunk([{"index": index, "delta": {**delta, **_calls(said)}, "logprobs": logprobs, "finish_reason": None}])
            last = {"content": "", "tool_calls": [_call(n, call, call.arguments) for n, call in speech.calls.items()]}
            return (told if _calls(said) else b"") + self._chunk(
                [{"index": index, "delta": last, "logprobs": None, "finish_reason": said.finish}]
            )
        return self._chunk([{"index": index, "delta": {**delta, **_calls(said)}, "logprobs": logprobs, "finish_reason": said.finish}])

    def end(self) -> bytes:
        """All answers have ended."""
        return (self._chunk([], usage=usage(self._speeches)) if self._include_usage else b"") + DONE


def _calls(said: Said) -> dict[str, Any]:
    if not said.begun and not said.arguments:
        return {}
    calls = []
    for index in sorted({*said.begun, *said.arguments}):
        arguments = said.arguments.get(index, "")
        begun = said.begun.get(index)
        calls.append({"index": index, "function": {"arguments": arguments}} if begun is None else _call(index, begun, arguments))
    return {"tool_calls": calls}


def _call(index: int, call: Call, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def chat_choice(index: int, speech: Speech) -> dict[str, Any]:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": speech.content}
    if speech.reasoning:
        message["reasoning_content"] = speech.reasoning
    if speech.calls:
        message["content"] = speech.content or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in speech.calls.values()
        ]
    return {"index": index, "message": message, "logprobs": chat_logprobs(tuple(speech.logprobs)), "finish_reason": speech.finish}


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """Those of some tokens."""
    if not tokens:
        return None

    def one(token: str, logprob: float, raw: bytes) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(raw)}

    return {
        "content": [{**one(t.token, t.logprob, t.raw), "top_logprobs": [one(*top) for top in t.top]} for t in tokens],
        "refusal": None,
    }


class TextChunks:
    """The chunks of plain completions."""

    def __init__(self, frame: Frame, speeches: Sequence[Speech], echoes: Sequence[str], include_usage: bool, prompts: int) -> None:
        self._frame = frame
        self._speeches = speeches
        self._echoes = list(echoes)
        self._include_usage = include_usage
        self._prompts = prompts
        self._offsets = [0] * len(speeches)

    def said(self, index: int, said: Said) -> bytes:
        """More of one answer."""
        text, self._echoes[index] = self._echoes[index] + said.content, ""
        if not text and said.finish is None and not said.logprobs:
            return b""
        logprobs = text_logprobs(said.logprobs, self._offsets[index])
        self._offsets[index] += sum(len(each.token) for each in said.logprobs)
        return event(text_frame(self._frame, [{"index": index, "text": text, "logprobs": logprobs, "finish_reason": said.finish}]))

    def end(self) -> bytes:
        """All answers have ended."""
        counts = {"usage": usage(self._speeches, self._prompts)}
        return (event({**text_frame(self._frame, []), **counts}) if self._include_usage else b"") + DONE


def text_frame(frame: Frame, choices: list[Any]) -> dict[str, Any]:
    """A completion, whole or in part."""
    return {"id": frame.id, "object": "text_completion", "created": frame.created, "model": frame.model, "choices": choices}


def text_logprobs(tokens: Sequence[TokenLogprob], offset: int = 0) -> dict[str, Any] | None:
    """Those of some tokens, whose text begins at ``offset``."""
    if not tokens:
        return None
    offsets = []
    for each in tokens:
        offsets.append(offset)
        offset += len(each.token)
    return {
        "tokens": [each.token for each in tokens],
        "token_logprobs": [each.logprob for each in tokens],
        "top_logprobs": [{token: logprob for token, logprob, _ in each.top} for each in tokens],
        "text_offset": offsets,
    }
