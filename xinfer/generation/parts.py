"""What an answer is made of, in the order in which it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that the model says to itself."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A tool is called. ``index`` counts the calls of one answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the arguments of a call that has begun: JSON text, whole only once all pieces are put together."""

    index: int
    text: str


Part = Content | Reasoning | CallBegun | CallArguments


class Parser(Protocol):
    """Folds text into parts. However the text is cut into pieces, the parts put together are the same."""

    def feed(self, text: str) -> list[Part]:
        """More text."""

    def end(self) -> list[Part]:
        """No more will come: what was held back."""
