"""What an answer says, and the chunks that tell it: content, reasoning, calls of tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xinfer.api.chunks import ChatChunks, Frame, chat_choice, chat_logprobs, text_logprobs, usage
from xinfer.api.speech import Speech
from xinfer.catalog.spec import LlmTraits
from xinfer.generation.job import Emission, Finish, TokenLogprob

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>'
ANSWER = f"<think>\nWhere is it?\n</think>\n\nLet me look.\n{CALL}\n{CALL}"


def emissions(text: str, size: int, finish: Finish = Finish.STOP) -> list[Emission]:
    pieces = [text[start : start + size] for start in range(0, len(text), size)] or [""]
    last = len(pieces)
    return [
        Emission("k", n, (n,), piece, prompt_tokens=7 if n == 1 else 0, finish=finish if n == last else None)
        for n, piece in enumerate(pieces, 1)
    ]


def spoken(text: str, size: int, traits: LlmTraits, tools: bool = True, **more: Any) -> tuple[Speech, list[Any]]:
    speech = Speech("r1", traits, tools)
    chunks = ChatChunks(Frame("chatcmpl-r1", 5, "m"), [speech], include_usage=False)
    told = b"".join(chunks.said(0, speech.take(each)) for each in emissions(text, size, **more)) + chunks.end()
    events = [line.removeprefix("data: ") for line in told.decode().split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return speech, [json.loads(event) for event in events]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_calls_and_reasoning_however_the_text_is_cut(size: int) -> None:
    speech, events = spoken(ANSWER, size, LlmTraits(tools="marked", reasoning="marked"))
    assert speech.content.strip() == "Let me look."
    assert speech.reasoning.strip() == "Where is it?"
    assert [(call.name, json.loads(call.arguments)) for call in speech.calls.values()] == [("weather", {"city": "Rome", "days": 2})] * 2
    assert len({call.id for call in speech.calls.values()}) == 2
    assert speech.finish == "tool_calls"
    deltas = [event["choices"][0]["delta"] for event in events]
    assert all(isinstance(delta["content"], str) for delta in deltas)
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == speech.reasoning
    reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert reasons == [None] * (len(reasons) - 1) + ["tool_calls"]
    whole = deltas[-1]["tool_calls"]
    assert [(call["index"], call["function"]["name"]) for call in whole] == [(0, "weather"), (1, "weather")]
    assert json.loads(whole[1]["function"]["arguments"]) == {"city": "Rome", "days": 2}
    pieces: dict[int, str] = {}
    for delta in deltas[:-1]:
        for call in delta.get("tool_calls", ()):
            pieces[call["index"]] = pieces.get(call["index"], "") + call["function"]["arguments"]
    assert [json.loads(pieces[index]) for index in (0, 1)] == [{"city": "Rome", "days": 2}] * 2


def test_the_whole_reply_has_them_too() -> None:
    speech, _ = spoken(ANSWER, 5, LlmTraits(tools="marked", reasoning="marked"))
    choice = chat_choice(0, speech)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["type"] == "function"
    assert choice["message"]["reasoning_content"].strip() == "Where is it?"
    only, _ = spoken(CALL, 5, LlmTraits(tools="marked"))
    assert chat_choice(0, only)["message"]["content"] is None


def test_without_tools_in_the_request_nothing_is_taken_for_a_call() -> None:
    speech, _ = spoken(CALL, 4, LlmTraits(tools="marked"), tools=False)
    assert speech.content == CALL
    assert speech.finish == "stop"


@pytest.mark.parametrize(
    ("traits", "text"),
    [
        (LlmTraits(tools="listed"), '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]'),
        (LlmTraits(tools="bare"), '{"name": "f", "parameters": {"a": 1}}'),
    ],
)
def test_each_way_of_writing_calls(traits: LlmTraits, text: str) -> None:
    speech, _ = spoken(text, 3, traits)
    assert [(call.name, json.loads(call.arguments)) for call in speech.calls.values()] == [("f", {"a": 1})]


def test_reasoning_that_the_prompt_has_opened() -> None:
    speech, _ = spoken("I think.\n</think>\n\nYes.", 4, LlmTraits(reasoning="opened"))
    assert (speech.reasoning.strip(), speech.content) == ("I think.", "Yes.")


def test_a_call_that_is_cut_off_ends_by_length() -> None:
    speech, _ = spoken(CALL[:60], 9, LlmTraits(tools="marked"), finish=Finish.LENGTH)
    assert speech.finish == "length"


def test_usage_counts_a_prompt_once_however_many_answers_it_has() -> None:
    speeches = []
    for _ in range(4):
        speech = Speech("r", LlmTraits(), tools=False)
        for each in emissions("abc", 1):
            speech.take(each)
        speeches.append(speech)
    assert usage(speeches)["prompt_tokens"] == 7
    assert usage(speeches, prompts=2)["prompt_tokens"] == 14
    assert usage(speeches)["completion_tokens"] == 12


def test_logprobs_in_both_shapes() -> None:
    tokens = (TokenLogprob("a", -0.5, b"a", (("a", -0.5, b"a"), ("b", -1.0, b"b"))), TokenLogprob("bc", -0.25, b"bc"))
    told = chat_logprobs(tokens)
    assert told is not None
    assert told["content"][0]["top_logprobs"][1] == {"token": "b", "logprob": -1.0, "bytes": [98]}
    text = text_logprobs(tokens, 4)
    assert text is not None
    assert (text["tokens"], text["text_offset"], text["top_logprobs"][0]) == (["a", "bc"], [4, 5], {"a": -0.5, "b": -1.0})
    assert chat_logprobs(()) is None
