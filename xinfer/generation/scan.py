"""Looking for markers in text that comes in pieces: what may yet become one is held back, everything else goes on at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def held_back(text: str, markers: Sequence[str]) -> int:
    """Characters at the end of ``text`` that may be the beginning of a marker, which is not in it whole."""
    most = min(len(text), max((len(marker) for marker in markers), default=0) - 1)
    return next((size for size in range(most, 0, -1) if any(marker.startswith(text[-size:]) for marker in markers)), 0)


def first_of(text: str, markers: Sequence[str]) -> tuple[int, str] | None:
    """Where the marker begins that begins first, and which it is: of those at one place the longest."""
    found = [(at, -len(marker), marker) for marker in markers if (at := text.find(marker)) >= 0]
    if not found:
        return None
    at, _, marker = min(found)
    return at, marker


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text between two markers.

    Attributes:
        span: 0 outside of all spans, else the number of the span, which counts from 1.
        closed: the span ends here; its text may be empty then.
    """

    span: int
    text: str
    closed: bool = False


class Segments:
    """Tells text within ``opening`` and ``closing`` from what is outside; the markers are in neither.

    Args:
        inside: it begins within a span, as where a prompt ends with ``opening``.
    """

    def __init__(self, opening: str, closing: str, inside: bool = False) -> None:
        self._opening, self._closing = opening, closing
        self._rest = ""
        self._spans = int(inside)
        self._inside = inside

    def feed(self, text: str) -> list[Segment]:
        """More text."""
        self._rest += text
        segments: list[Segment] = []
        while (found := first_of(self._rest, [self._marker])) is not None:
            at, marker = found
            if at or self._inside:
                segments.append(Segment(self._span, self._rest[:at], closed=self._inside))
            self._rest = self._rest[at + len(marker) :]
            self._inside = not self._inside
            self._spans += self._inside
        ready = len(self._rest) - held_back(self._rest, [self._marker])
        if ready:
            segments.append(Segment(self._span, self._rest[:ready]))
            self._rest = self._rest[ready:]
        return segments

    def end(self) -> list[Segment]:
        """No more will come; a span that is open then is left so."""
        rest, self._rest = self._rest, ""
        return [Segment(self._span, rest)] if rest else []

    @property
    def _marker(self) -> str:
        return self._closing if self._inside else self._opening

    @property
    def _span(self) -> int:
        return self._spans if self._inside else 0
