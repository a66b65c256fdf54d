"""Calls of tools: whole or in pieces they are the same, and what is none is given back as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.generation.cut import call, parsed, pieces
from xinfer.generation.calls import CallSequence, MarkedCalls
from xinfer.generation.parts import CallArguments, CallBegun, Content, Part

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NOISE = st.text(alphabet='<>/tool_cal{}[]:,"\\ \nab', max_size=40)
CALL = '{"name": "add", "arguments": {"a": 1, "b": [2, {"c": "}"}]}}'
ARGUMENTS = '{"a": 1, "b": [2, {"c": "}"}]}'


def marked(text: str) -> str:
    return f"<tool_call>\n{text}\n</tool_call>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", [Content("hello")]),
        (marked(CALL), call(0, "add", ARGUMENTS)),
        ("so: " + marked(CALL), [Content("so: "), *call(0, "add", ARGUMENTS)]),
        (marked(CALL) + "\n" + marked(CALL) + "\n", [*call(0, "add", ARGUMENTS), *call(1, "add", ARGUMENTS)]),
        (marked(CALL) + "\ndone", [*call(0, "add", ARGUMENTS), Content("\ndone")]),
        (marked('{"arguments": {"x": 1}, "name": "f"}'), call(0, "f", '{"x": 1}')),
        (marked('{"parameters": {}, "name": "f", "id": 7}'), call(0, "f", "{}")),
        (marked('{"name": "f"}'), call(0, "f", "{}")),
        (marked(r'{"name": "f", "arguments": "{\"x\": \"é\"}"}'), call(0, "f", '{"x": "é"}')),
        (marked("no json"), [Content(marked("no json"))]),
        (marked('{"nome": "f"}'), [Content(marked('{"nome": "f"}'))]),
        (marked('{"name": 3, "arguments": {}}'), [Content(marked('{"name": 3, "arguments": {}}'))]),
        (marked("no") + marked(CALL), [Content(marked("no")), *call(0, "add", ARGUMENTS)]),
        ('<tool_call>{"name": "f", "arguments": {"x": ', call(0, "f", '{"x": ')),
        ('<tool_call>{"name": "f', [Content('<tool_call>{"name": "f')]),
        ("a <tool_ca", [Content("a <tool_ca")]),
    ],
)
def test_marked_calls(text: str, expected: list[Part]) -> None:
    assert parsed(MarkedCalls, [text]) == expected
    assert parsed(MarkedCalls, text) == expected


@pytest.mark.parametrize(
    ("opening", "text", "expected"),
    [
        ("", CALL, call(0, "add", ARGUMENTS)),
        ("", f" {CALL}; {CALL}", [*call(0, "add", ARGUMENTS), *call(1, "add", ARGUMENTS)]),
        ("", "Sure: {}", [Content("Sure: {}")]),
        ("", '{"answer": 42}', [Content('{"answer": 42}')]),
        ("", "  ", [Content("  ")]),
        ("[TOOL_CALLS]", f"[TOOL_CALLS] [{CALL}, {CALL}]", [*call(0, "add", ARGUMENTS), *call(1, "add", ARGUMENTS)]),
        ("[TOOL_CALLS]", f"I ask.[TOOL_CALLS][{CALL}]", [Content("I ask."), *call(0, "add", ARGUMENTS)]),
        ("[TOOL_CALLS]", "[TOOL_CALLS][{no}]", [Content("[TOOL_CALLS]{no}]")]),
        ("[TOOL_CALLS]", "see [TOOL", [Content("see [TOOL")]),
    ],
)
def test_calls_in_a_row(opening: str, text: str, expected: list[Part]) -> None:
    assert parsed(lambda: CallSequence(opening), [text]) == expected
    assert parsed(lambda: CallSequence(opening), text) == expected


def test_arguments_go_on_as_they_come() -> None:
    parser = MarkedCalls()
    assert parser.feed('<tool_call>{"name": "f", "arguments": {"text": "a lo') == [CallBegun(0, "f"), CallArguments(0, '{"text": "a lo')]
    assert parser.feed("ng story") == [CallArguments(0, "ng story")]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), st.dictionaries(st.text(max_size=4), JSON, max_size=3)), max_size=3), st.data())
def test_what_a_model_may_call_is_told_as_it_is(calls: list[tuple[str, dict[str, Any]]], data: st.DataObject) -> None:
    text = "".join(marked(json.dumps({"name": name, "arguments": arguments})) for name, arguments in calls)
    found = parsed(MarkedCalls, data.draw(pieces(st.just(text))))
    assert [part.name for part in found if isinstance(part, CallBegun)] == [name for name, _ in calls]
    assert [json.loads(part.text) for part in found if isinstance(part, CallArguments)] == [arguments for _, arguments in calls]
    assert not any(isinstance(part, Content) for part in found)


@given(pieces(st.lists(NOISE | st.sampled_from(["<tool_call>", "</tool_call>", CALL, "[TOOL_CALLS]"]), max_size=6).map("".join)))
def test_pieces_make_no_difference(text: list[str]) -> None:
    whole = "".join(text)
    assert parsed(MarkedCalls, text) == parsed(MarkedCalls, [whole])
    for opening in ("", "[TOOL_CALLS]"):
        assert parsed(lambda opening=opening: CallSequence(opening), text) == parsed(lambda opening=opening: CallSequence(opening), [whole])  # type: ignore[misc]
