"""Members of an object as its text comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.generation.cut import pieces
from xinfer.generation.members import Members

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
PLAIN = st.text(alphabet="abcxyz_", min_size=1, max_size=4)


def read(text: list[str]) -> tuple[dict[str, str], Members, str]:
    members, values, behind = Members(), {}, ""
    for piece in text:
        found, rest = members.feed(piece)
        behind += rest
        for member in found:
            values[member.key] = values.get(member.key, "") + member.text
    return values, members, behind


@given(st.dictionaries(PLAIN, JSON, max_size=4), st.sampled_from([None, 2]), st.text(max_size=4), st.data())
def test_values_are_read_whole_however_they_come(value: dict[str, Any], indent: int | None, behind: str, data: st.DataObject) -> None:
    text = json.dumps(value, indent=indent)
    values, members, rest = read(data.draw(pieces(st.just(text + behind))))
    assert members.done
    assert not members.broken
    assert {key: json.loads(part) for key, part in values.items()} == value
    assert rest == behind


def test_a_long_value_is_passed_on_before_it_is_whole() -> None:
    members = Members()
    found, _ = members.feed('{"a": [1, 2')
    assert [(member.text, member.done) for member in found] == [("[1, 2", False)]
    found, rest = members.feed("]} tail")
    assert [(member.text, member.done) for member in found] == [("]", True)]
    assert rest == " tail"


@pytest.mark.parametrize("text", ["x", "[1]", "{a: 1}", '{"a" 1}', '{"a": }', '{"a": 1]'])
def test_what_is_no_object_is_broken(text: str) -> None:
    _, members, _ = read(list(text))
    assert members.broken
    assert not members.done


def test_space_within_a_value_is_kept_and_behind_it_is_not() -> None:
    assert read(list('{"a": 1 2 , "b": [ 1 ] }'))[0] == {"a": "1 2", "b": "[ 1 ]"}
