"""The members of one JSON object as its text comes, so that a long value can be passed on before it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Member:
    """More of one member's value.

    Attributes:
        text: JSON text; ``done``: with it the value is whole.
    """

    key: str
    text: str
    done: bool = False


class _At(Enum):
    START = auto()
    KEY = auto()
    IN_KEY = auto()
    COLON = auto()
    VALUE = auto()
    IN_VALUE = auto()
    DONE = auto()


class Members:
    """Reads one object; only its outline is checked, values are passed on as they are.

    Attributes:
        broken: the text is no object, or not any more; nothing is read from there on.
    """

    def __init__(self) -> None:
        self.broken = False
        self._at = _At.START
        self._key = ""
        self._quoted = self._escaped = False
        self._depth = 0
        self._gap = ""  # white space behind a value, which may be at its end
        self._value = ""

    @property
    def done(self) -> bool:
        """The object is closed."""
        return self._at is _At.DONE

    def feed(self, text: str) -> tuple[list[Member], str]:
        """More text.

        Returns:
            what it adds; the text behind the end of the object.
        """
        found: list[Member] = []
        for place, char in enumerate(text):
            if self._at is _At.DONE:
                return found, text[place:]
            if self.broken:
                break
            self._read(char, found)
        if self._at is _At.IN_VALUE and self._value:
            found.append(Member(self._key, self._value))
            self._value = ""
        return found, ""

    def _read(self, char: str, found: list[Member]) -> None:
        if self._at is _At.IN_KEY:
            self._read_key(char)
        elif self._at is _At.IN_VALUE:
            self._read_value(char, found)
        elif char in _SPACE:
            return
        elif self._at is _At.START and char == "{":
            self._at = _At.KEY
        elif self._at is _At.KEY and char == '"':
            self._at, self._key = _At.IN_KEY, ""
        elif self._at is _At.KEY and char == "}":
            self._at = _At.DONE
        elif self._at is _At.COLON and char == ":":
            self._at = _At.VALUE
        elif self._at is _At.VALUE and char not in ",}]:":
            self._at, self._depth, self._quoted, self._gap, self._value = _At.IN_VALUE, 0, False, "", ""
            self._read_value(char, found)
        else:
            self.broken = True

    def _read_key(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._at = _At.COLON
            return
        self._key += char

    def _read_value(self, char: str, found: list[Member]) -> None:
        if not self._quoted and self._depth == 0:
            if char in ",}":
                found.append(Member(self._key, self._value, done=True))
                self._at, self._value = (_At.KEY if char == "," else _At.DONE), ""
                return
            if char == "]":
                self.broken = True
                return
            if char in _SPACE:
                self._gap += char
                return
        self._value += self._gap + char
        self._gap = ""
        if self._escaped:
            self._escaped = False
        elif self._quoted and char == "\\":
            self._escaped = True
        elif char == '"':
            self._quoted = not self._quoted
        elif not self._quoted:
            self._depth += (char in "{[") - (char in "}]")
