"""Anthropic's dialect: turns, blocks, events, errors; and its own client."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest

from tests.api.chat_server import Chat
from tests.support.sleeper import answer_to
from xinfer.api.message_events import MessageEvents, message
from xinfer.api.message_jobs import as_chat
from xinfer.api.speech import Speech
from xinfer.catalog.spec import LlmTraits
from xinfer.generation.job import Emission, Finish
from xinfer.schemas.messages import MessagesRequest

ASK: dict[str, Any] = {"model": "chat", "max_tokens": 12, "messages": [{"role": "user", "content": "hello"}]}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def test_turns_become_messages_of_ours() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "How is "}, {"type": "text", "text": "Rome?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]}]},
    ]
    tools = [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}]
    chat = as_chat(MessagesRequest.model_validate({**ASK, "system": "be brief", "messages": turns, "tools": tools}))
    assert [message.role for message in chat.messages] == ["system", "user", "assistant", "tool"]
    assert chat.messages[1].content == "How is Rome?"
    assert chat.messages[2].reasoning_content == "hm"
    assert chat.messages[2].tool_calls is not None
    assert json.loads(chat.messages[2].tool_calls[0].function.arguments) == {"city": "Rome"}
    assert (chat.messages[3].content, chat.messages[3].tool_call_id) == ("sunny", "c1")
    assert chat.tools is not None
    assert chat.tools[0].function.name == "weather"


def spoken(text: str, size: int) -> tuple[Speech, list[tuple[str, Any]]]:
    speech = Speech("r", LlmTraits(tools="marked", reasoning="marked"), tools=True)
    told, events = MessageEvents("msg_r", "m", speech), b""
    pieces = [text[at : at + size] for at in range(0, len(text), size)] or [""]
    for number, piece in enumerate(pieces, 1):
        finish = Finish.STOP if number == len(pieces) else None
        events += told.said(0, speech.take(Emission("k", number, (1,), piece, prompt_tokens=4 if number == 1 else 0, finish=finish)))
    events += told.end()
    found = []
    for event in events.decode().split("\n\n"):
        if event:
            kind, data = event.split("\n")
            found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return speech, found


@pytest.mark.parametrize("size", [1, 5, 500])
def test_blocks_of_one_kind_each_in_order(size: int) -> None:
    speech, events = spoken(f"<think>hm</think>Let me see. {CALL}{CALL}", size)
    kinds = [kind for kind, _ in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    starts = [data["content_block"]["type"] for kind, data in events if kind == "content_block_start"]
    assert starts == ["thinking", "text", "tool_use", "tool_use"]
    assert [data["index"] for kind, data in events if kind == "content_block_start"] == [0, 1, 2, 3]
    assert [data["index"] for kind, data in events if kind == "content_block_stop"] == [0, 1, 2, 3]
    arguments: dict[int, str] = {}
    for kind, data in events:
        if kind == "content_block_delta" and data["delta"]["type"] == "input_json_delta":
            arguments[data["index"]] = arguments.get(data["index"], "") + data["delta"]["partial_json"]
    assert [json.loads(arguments[index]) for index in (2, 3)] == [{"city": "Rome"}] * 2
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"
    whole = message("msg_r", "m", speech)
    assert [block["type"] for block in whole["content"]] == starts
    assert whole["content"][2]["input"] == {"city": "Rome"}


def test_an_answer_without_a_word_has_an_empty_block() -> None:
    _, events = spoken("", 1)
    assert [kind for kind, _ in events] == [
        "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"
    ]  # fmt: skip


async def test_its_own_client(chat: Chat) -> None:
    client = anthropic.AsyncAnthropic(base_url=chat.url, api_key="any", max_retries=0)
    whole = await client.messages.create(**ASK)
    assert whole.content[0].type == "text"
    assert whole.content[0].text == answer_to("hello", 12).lstrip()
    assert (whole.stop_reason, whole.usage.output_tokens) == ("max_tokens", 12)
    async with client.messages.stream(**ASK) as stream:
        said = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert said == answer_to("hello", 12).lstrip()
    assert final.usage.output_tokens == 12
    below = anthropic.AsyncAnthropic(base_url=f"{chat.url}/anthropic", api_key="any", max_retries=0)
    assert (await below.messages.create(**ASK)).id.startswith("msg_")


async def test_a_stop_sequence_is_named(chat: Chat) -> None:
    stop = answer_to("hello", 40)[20:23]
    reply = (await chat.http.post("/v1/messages", json={**ASK, "max_tokens": 40, "stop_sequences": [stop]})).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", stop)


@pytest.mark.parametrize(
    ("more", "status", "kind"),
    [
        ({"max_tokens": None}, 400, "invalid_request_error"),
        ({"messages": []}, 400, "invalid_request_error"),
        ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error"),
        ({"model": "nothing"}, 404, "not_found_error"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, 400, "invalid_request_error"),
    ],
)
async def test_errors_have_its_shape(chat: Chat, more: dict[str, Any], status: int, kind: str) -> None:
    reply = await chat.http.post("/v1/messages", json={**ASK, **more})
    assert reply.status_code == status
    body = reply.json()
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert body["error"]["message"]
