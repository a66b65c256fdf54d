"""Reasoning, split off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.generation.cut import parsed, pieces
from xinfer.generation.parts import Content, Part, Reasoning
from xinfer.generation.reasoning import ReasoningSplit

NOISE = st.lists(st.text(alphabet="<>/think \nab", max_size=12) | st.sampled_from(["<think>", "</think>"]), max_size=6).map("".join)


@pytest.mark.parametrize(
    ("text", "begun", "expected"),
    [
        ("hello", False, [Content("hello")]),
        ("<think>\nhm \n</think>\n\nyes", False, [Reasoning("hm \n"), Content("yes")]),
        ("hm</think>yes", True, [Reasoning("hm"), Content("yes")]),
        ("<think>\n\n</think>\n\nyes", False, [Content("yes")]),
        ("<think>never ends", False, [Reasoning("never ends")]),
        ("a < b <thin", False, [Content("a < b <thin")]),
    ],
)
def test_what_is_reasoning_and_what_is_not(text: str, begun: bool, expected: list[Part]) -> None:
    assert parsed(lambda: ReasoningSplit(begun=begun), [text]) == expected
    assert parsed(lambda: ReasoningSplit(begun=begun), text) == expected


@given(pieces(NOISE), st.booleans())
def test_pieces_make_no_difference(text: list[str], begun: bool) -> None:
    assert parsed(lambda: ReasoningSplit(begun=begun), text) == parsed(lambda: ReasoningSplit(begun=begun), ["".join(text)])
