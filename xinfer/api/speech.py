"""What one answer says, put together from what comes of it: content, reasoning, calls of tools. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from xinfer.catalog.spec import LlmTraits
from xinfer.generation.calls import CallSequence, MarkedCalls
from xinfer.generation.job import Emission, Finish, TokenLogprob
from xinfer.generation.parts import CallArguments, CallBegun, Content, Parser, Part, Reasoning
from xinfer.generation.reasoning import ReasoningSplit


@dataclass(slots=True)
class Call:
    """A call of a tool; ``arguments`` is JSON text."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Said:
    """What one emission adds.

    Attributes:
        begun: calls that begin, by index; ``arguments``: more of theirs, by index.
        finish: why the answer has ended: "stop", "length" or "tool_calls"; None = it goes on.
    """

    content: str = ""
    reasoning: str = ""
    begun: dict[int, Call] = field(default_factory=dict)
    arguments: dict[int, str] = field(default_factory=dict)
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: str | None = None

    @property
    def empty(self) -> bool:
        """Nothing to tell."""
        return not (self.content or self.reasoning or self.begun or self.arguments or self.logprobs or self.finish)


class Speech:
    """One answer.

    Args:
        name: of the request, for the ids of calls.
        tools: the request offers some.

    Attributes:
        content, reasoning, calls: all so far.
        prompt_tokens, cached_tokens, tokens: counts.
    """

    def __init__(self, name: str, traits: LlmTraits, tools: bool) -> None:
        self._name = name
        self._reasoning = None if traits.reasoning is None else ReasoningSplit(begun=traits.reasoning == "opened")
        self._calls = _calls(traits) if tools else None
        self.content = self.reasoning = ""
        self.calls: dict[int, Call] = {}
        self.logprobs: list[TokenLogprob] = []
        self.prompt_tokens = self.cached_tokens = self.tokens = 0
        self.finish: str | None = None
        self.stopped_by: str | None = None

    def take(self, emission: Emission) -> Said:
        """More of it."""
        if emission.prompt_tokens:
            self.prompt_tokens, self.cached_tokens = emission.prompt_tokens, emission.cached_tokens
        self.tokens += len(emission.tokens)
        self.logprobs += emission.logprobs
        said = Said(logprobs=emission.logprobs)
        for part in self._parts(emission):
            self._add(part, said)
        if emission.finish is not None:
            self.stopped_by = emission.stopped_by
            called = self.calls and emission.finish is Finish.STOP
            self.finish = said.finish = "tool_calls" if called else emission.finish.value
        return said

    def _parts(self, emission: Emission) -> list[Part]:
        last = emission.finish is not None
        parts: list[Part] = [Content(emission.text)] if emission.text else []
        for parser in (self._reasoning, self._calls):
            if parser is not None:
                parts = _through(parser, parts, last)
        return parts

    def _add(self, part: Part, said: Said) -> None:
        match part:
            case Content(text):
                self.content += text
                said.content += text
            case Reasoning(text):
                self.reasoning += text
                said.reasoning += text
            case CallBegun(index, name):
                said.begun[index] = self.calls[index] = Call(f"call_{self._name}_{index}", name)
            case CallArguments(index, text):
                self.calls[index].arguments += text
                said.arguments[index] = said.arguments.get(index, "") + text


def _calls(traits: LlmTraits) -> Parser | None:
    match traits.tools:
        case "marked":
            return MarkedCalls()
        case "listed":
            return CallSequence("[TOOL_CALLS]")
        case "bare":
            return CallSequence("")
    return None


def _through(parser: Parser, parts: list[Part], last: bool) -> list[Part]:
    """Content is read on, all else goes by."""
    found: list[Part] = []
    for part in parts:
        found += parser.feed(part.text) if isinstance(part, Content) else [part]
    return found + parser.end() if last else found
