"""Reasoning that stands between two markers before the answer."""

from __future__ import annotations

from xinfer.generation.parts import Content, Part, Reasoning
from xinfer.generation.scan import Segment, Segments


class ReasoningSplit:
    """Splits it off. White space around it belongs to neither.

    Args:
        begun: the prompt ends with ``opening``, so that the text begins within.
    """

    def __init__(self, opening: str = "<think>", closing: str = "</think>", begun: bool = False) -> None:
        self._segments = Segments(opening, closing, begun)
        self._blank = {True: True, False: True}  # nothing but white space so far, of reasoning and of the answer

    def feed(self, text: str) -> list[Part]:
        """More text."""
        return self._parts(self._segments.feed(text))

    def end(self) -> list[Part]:
        """No more will come."""
        return self._parts(self._segments.end())

    def _parts(self, segments: list[Segment]) -> list[Part]:
        parts: list[Part] = []
        for segment in segments:
            inside = segment.span > 0
            text = segment.text.lstrip() if self._blank[inside] else segment.text
            if text:
                self._blank[inside] = False
                parts.append(Reasoning(text) if inside else Content(text))
        return parts
