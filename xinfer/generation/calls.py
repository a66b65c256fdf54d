"""Calls of tools in the text of an answer. A family's data says which of these its models speak."""

from __future__ import annotations

import json

from xinfer.generation.members import Member, Members
from xinfer.generation.parts import CallArguments, CallBegun, Content, Part
from xinfer.generation.scan import Segment, Segments, first_of, held_back

ARGUMENTS = ("arguments", "parameters")


class CallReader:
    """One call as a JSON object with its name and its arguments, in whatever order.

    Attributes:
        text: all of it, as long as nothing has been told: to be given back if this turns out to be no call.
        begun: the name has been told.
        broken: it is no call, or not any more.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self._members = Members()
        self._name = ""
        self._arguments = ""  # that wait for the name, or for the end of a quoted value
        self._quoted: bool | None = None  # None until the arguments begin
        self.text = ""
        self.begun = False
        self.broken = False

    @property
    def done(self) -> bool:
        """The call is whole."""
        return self._members.done

    def feed(self, text: str) -> tuple[list[Part], str]:
        """More text.

        Returns:
            what can be told; the text behind the call.
        """
        members, rest = self._members.feed(text)
        parts: list[Part] = []
        for member in members:
            if member.key == "name" and not self.begun:
                self._read_name(member, parts)
            elif member.key in ARGUMENTS:
                self._read_arguments(member, parts)
        self.broken |= self._members.broken or (self.done and not self.begun)
        if self.done and self.begun and self._quoted is None:
            parts.append(CallArguments(self._index, "{}"))
        self.text = "" if self.begun else self.text + text[: len(text) - len(rest)]
        return parts, rest

    def _read_name(self, member: Member, parts: list[Part]) -> None:
        self._name += member.text
        if not member.done:
            return
        name = _decoded(self._name)
        if not isinstance(name, str) or not name:
            self.broken = True
            return
        self.begun = True
        parts.append(CallBegun(self._index, name))
        self._tell(parts)

    def _read_arguments(self, member: Member, parts: list[Part]) -> None:
        """Arguments that are JSON within a text are told when that is whole, all others as they come."""
        if self._quoted is None and member.text:
            self._quoted = member.text.startswith('"')
        self._arguments += member.text
        if self._quoted and member.done:
            decoded = _decoded(self._arguments)
            self._arguments, self._quoted = decoded if isinstance(decoded, str) else self._arguments, False
        self._tell(parts)

    def _tell(self, parts: list[Part]) -> None:
        if self.begun and not self._quoted and self._arguments:
            parts.append(CallArguments(self._index, self._arguments))
            self._arguments = ""


class MarkedCalls:
    """Each call between two markers, as Hermes and Qwen write them. What is no call is text, its markers with it."""

    def __init__(self, opening: str = "<tool_call>", closing: str = "</tool_call>") -> None:
        self._segments = Segments(opening, closing)
        self._opening, self._closing = opening, closing
        self._calls = 0
        self._span = 0
        self._reader = CallReader(0)
        self._as_text = False  # this span is no call
        self._gap = ""  # white space between calls, told only if text follows

    def feed(self, text: str) -> list[Part]:
        """More text."""
        return [part for segment in self._segments.feed(text) for part in self._parts(segment)]

    def end(self) -> list[Part]:
        """No more will come. A call that is cut off is left so; one of which not even the name is whole is text."""
        parts = [part for segment in self._segments.end() for part in self._parts(segment)]
        text, self._reader.text = self._reader.text, ""
        return parts + (self._told(self._opening + text) if text and not self._as_text else [])

    def _parts(self, segment: Segment) -> list[Part]:
        if not segment.span:
            return self._told(segment.text)
        if segment.span != self._span:
            self._span, self._reader, self._as_text = segment.span, CallReader(self._calls), False
        return self._of_call(segment)

    def _of_call(self, segment: Segment) -> list[Part]:
        if self._as_text:
            return self._told(segment.text + self._closing * segment.closed)
        reader = self._reader
        parts, rest = ([], "") if reader.done else reader.feed(segment.text)
        if not reader.begun and (reader.broken or segment.closed):
            text, reader.text, self._as_text = reader.text + rest, "", True
            return self._told(self._opening + text + self._closing * segment.closed)
        self._calls += sum(isinstance(part, CallBegun) for part in parts)
        return parts

    def _told(self, text: str) -> list[Part]:
        """As content; white space behind a call only once it is known that more follows."""
        text = self._gap + text
        self._gap = ""
        if self._calls and not text.strip():
            self._gap = text
            return []
        return [Content(text)] if text else []


class CallSequence:
    """Calls one behind the other to the end of the text, as Llama and Mistral write them: ``[TOOL_CALLS][{…}, {…}]``, or bare.

    Args:
        opening: behind it calls come; "" = they are the whole answer or none is.
    """

    def __init__(self, opening: str = "") -> None:
        self._opening = opening
        self._before = True  # the opening has not come
        self._rest = ""
        self._gap = ""
        self._calls = 0
        self._reader: CallReader | None = None
        self._as_text = False

    def feed(self, text: str) -> list[Part]:
        """More text."""
        if not self._before:
            return self._of_calls(text)
        self._rest += text
        found = first_of(self._rest, [self._opening]) if self._opening else _start_of(self._rest)
        if found is None:
            ready = len(self._rest) - (held_back(self._rest, [self._opening]) if self._opening else len(self._rest))
            said, self._rest = self._rest[:ready], self._rest[ready:]
            return self._said(said)
        at, marker = found
        said, behind, self._rest, self._before = self._rest[:at], self._rest[at + len(marker) :], "", False
        return self._said(said) + self._of_calls(behind)

    def _said(self, text: str) -> list[Part]:
        """White space before the calls is told only with text that follows it."""
        text = self._gap + text
        stripped = text.rstrip()
        self._gap = text[len(stripped) :]
        return [Content(stripped)] if stripped else []

    def end(self) -> list[Part]:
        """No more will come. A call that is cut off is left so; one of which not even the name is whole is text."""
        gap = self._gap if self._before else ""
        text = gap + self._rest + ("" if self._reader is None or self._reader.begun else self._opening + self._reader.text)
        self._rest, self._gap, self._reader = "", "", None
        return [Content(text)] if text else []

    def _of_calls(self, text: str) -> list[Part]:
        parts: list[Part] = []
        while text and not self._as_text:
            if self._reader is None:
                text = text.lstrip(_BETWEEN)
                if text and text[0] != "{":
                    self._as_text, text = True, self._gap + text
                elif text:
                    self._reader = CallReader(self._calls)
                continue
            more, rest = self._reader.feed(text)
            parts += more
            self._calls += sum(isinstance(part, CallBegun) for part in more)
            text = rest
            if self._reader.broken:
                self._as_text = True
                text = rest if self._reader.begun else self._gap + self._opening + self._reader.text + rest
            if self._reader.broken or self._reader.done:
                self._reader = None
        return [*parts, Content(text)] if text else parts


_BETWEEN = " \t\r\n,;[]"


def _start_of(text: str) -> tuple[int, str] | None:
    """Where the text begins, behind white space; None while there is nothing else."""
    bare = text.lstrip()
    return (len(text) - len(bare), "") if bare else None


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
