"""Markers in pieces of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.generation.cut import pieces
from xinfer.generation.scan import Segment, Segments, first_of, held_back


def test_what_is_held_back_is_the_longest_that_may_become_a_marker() -> None:
    assert held_back("a<tool", ["<tool_call>"]) == 5
    assert held_back("aab", ["abc", "aabd"]) == 3
    assert held_back("<<", ["<<<"]) == 2
    assert held_back("abc", ["abc"]) == 0
    assert held_back("abc", []) == 0


def test_the_first_marker_is_found_the_longest_at_its_place() -> None:
    assert first_of("xabc", ["bc", "ab", "abc"]) == (1, "abc")
    assert first_of("x", ["y"]) is None


def test_spans_are_counted_and_closed() -> None:
    segments = Segments("[", "]")
    assert segments.feed("a[b][") == [Segment(0, "a"), Segment(1, "b", closed=True)]
    assert segments.feed("]c[d") == [Segment(2, "", closed=True), Segment(0, "c"), Segment(3, "d")]
    assert segments.end() == []


def told(inside: bool, text: list[str]) -> dict[int, list[str]]:
    """By span its text; with an empty text behind it where it was closed."""
    segments = Segments("<a>", "</a>", inside)
    found: dict[int, list[str]] = {}
    for segment in [segment for piece in text for segment in segments.feed(piece)] + segments.end():
        found.setdefault(segment.span, [""])[0] += segment.text
        if segment.closed:
            found[segment.span].append("")
    return found


@given(pieces(st.lists(st.sampled_from(["<a>", "</a>", "<", "a", "x y"]), max_size=12).map("".join)), st.booleans())
def test_pieces_make_no_difference_and_only_markers_are_taken_out(text: list[str], inside: bool) -> None:
    whole = "".join(text)
    found = told(inside, text)
    assert found == told(inside, [whole])
    closed = sum(len(span) > 1 for span in found.values())
    length = sum(len(span[0]) for span in found.values())
    assert len(whole) - length - 4 * closed in {3 * (closed - inside), 3 * (closed + 1 - inside)}
