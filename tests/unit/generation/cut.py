"""Text in pieces, and parts put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import strategies as st

from xinfer.generation.parts import CallArguments, CallBegun, Content, Parser, Part, Reasoning


@st.composite
def pieces(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> list[str]:
    """A text, cut anywhere."""
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def parsed(make: Callable[[], Parser], text: Iterable[str]) -> list[Part]:
    """What a new parser makes of it, joined."""
    parser = make()
    return joined([part for piece in text for part in parser.feed(piece)] + parser.end())


def joined(parts: Iterable[Part]) -> list[Part]:
    """Neighbours of one kind as one."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Content) and isinstance(last, Content):
            found[-1] = Content(last.text + part.text)
        elif isinstance(part, Reasoning) and isinstance(last, Reasoning):
            found[-1] = Reasoning(last.text + part.text)
        elif isinstance(part, CallArguments) and isinstance(last, CallArguments) and part.index == last.index:
            found[-1] = CallArguments(part.index, last.text + part.text)
        else:
            found.append(part)
    return found


def call(index: int, name: str, arguments: str) -> list[Part]:
    """As a parser tells it, joined."""
    return [CallBegun(index, name), CallArguments(index, arguments)]
