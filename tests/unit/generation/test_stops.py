"""Stop strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.generation.cut import pieces
from xinfer.generation.stops import StopStrings

STOPS = st.lists(st.text(alphabet="ab\n", max_size=4), max_size=4)


def said(stops: list[str], text: list[str]) -> tuple[str, str | None]:
    fold = StopStrings(stops)
    return "".join(map(fold.feed, text)) + fold.end(), fold.stopped_by


@pytest.mark.parametrize(
    ("stops", "text", "expected"),
    [
        ([], "all of it", ("all of it", None)),
        (["\n\n"], "one\n\ntwo", ("one", "\n\n")),
        (["\n\n"], "one\n", ("one\n", None)),
        (["b", "abc"], "xabc", ("xa", "b")),
        (["b", "ab"], "xab", ("x", "ab")),
        (["abc", "ab"], "xabc", ("x", "ab")),
        (["", "END"], "the END", ("the ", "END")),
    ],
)
def test_an_answer_ends_before_the_first_that_is_whole(stops: list[str], text: str, expected: tuple[str, str | None]) -> None:
    assert said(stops, [text]) == expected
    assert said(stops, list(text)) == expected


def test_what_cannot_become_one_is_said_at_once() -> None:
    fold = StopStrings(["STOP"])
    assert [fold.feed(text) for text in ("go ", "ST", "EP ", "S")] == ["go ", "", "STEP ", ""]


@given(STOPS, pieces(st.text(alphabet="ab\n", max_size=30)))
def test_pieces_make_no_difference_and_no_stop_string_is_said(stops: list[str], text: list[str]) -> None:
    found, by = said(stops, text)
    assert (found, by) == said(stops, ["".join(text)])
    assert not any(stop and stop in found for stop in stops)
    assert (by is None) is (found == "".join(text) and not any(stop and stop in "".join(text) for stop in stops))
