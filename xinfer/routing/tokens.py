"""Tokens of a text before anyone has tokenised it: from its bytes and spaces, corrected by the true counts that replies carry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xinfer.batching.work import WorkItem

FIRST_RATIO = 0.27
"""Tokens per UTF-8 byte: about right for English (0.2 to 0.25) and Chinese (0.3) alike, where characters differ fourfold."""
FIRST_EXTRA = 3.0
LETTERS = 6.0
"""Bytes from space to space."""
DECAY = 0.97
RIDGE = 1e-4
"""Keeps the plane from tilting over the noise of a few texts: bytes and spaces are nearly collinear in prose."""
APART = 2.0
"""How far the plane may stray from the line over bytes alone: a text of spaces only is like nothing that was learned from."""


class Size(NamedTuple):
    """What is counted of a text: UTF-8 bytes and spaces.

    A tokeniser splits at spaces first, and most words of a language are one token however long they are: of English prose under
    WordPiece, spaces tell the tokens within 1.2 %, bytes within 4.9 %. Where words fall into many tokens, or have no spaces
    between them, bytes tell more.
    """

    bytes: int
    spaces: int


def size(item: WorkItem) -> Size:
    """Of all that is tokenised; token ids count as the bytes that they are worth at the first ratio."""
    texts = [part for part in (item.text, item.pair, item.instruction) if isinstance(part, str)]
    ids = round(len(item.text) / FIRST_RATIO) if isinstance(item.text, tuple) else 0
    return Size(ids + sum(map(_bytes, texts)), sum(text.count(" ") for text in texts))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class _Sums(NamedTuple):
    """Decayed sums over the true counts: b bytes, s spaces, t tokens."""

    n: float = 0.0
    b: float = 0.0
    s: float = 0.0
    t: float = 0.0
    bb: float = 0.0
    bs: float = 0.0
    ss: float = 0.0
    bt: float = 0.0
    st: float = 0.0


class TokenEstimator:
    """``tokens = extra + bytes * p + spaces * q`` for one model: least squares over the recent true counts.

    The line over bytes alone is kept beside it: it serves while spaces tell nothing, and it bounds the plane.

    Args:
        max_tokens: inputs are truncated to this, so no estimate is above it.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max(1, max_tokens)
        self._line = (FIRST_EXTRA, FIRST_RATIO)
        self._plane: tuple[float, float, float] | None = None
        self._sums = _Sums()
        # Two invented texts, with the spaces of English, keep the first line until there is evidence.
        self._add((Size(b, round(b / LETTERS)), round(FIRST_EXTRA + FIRST_RATIO * b)) for b in (200, 800))

    def estimate(self, size: Size) -> int:
        """Tokens, 1..max_tokens."""
        extra, ratio = self._line
        tokens = line = extra + ratio * size.bytes
        if self._plane is not None:
            extra, per_byte, per_space = self._plane
            tokens = min(APART * line, max(line / APART, extra + per_byte * size.bytes + per_space * size.spaces))
        return max(1, min(self.max_tokens, round(tokens)))

    def observe(self, pairs: Iterable[tuple[Size, int]]) -> None:
        """True counts of one shard. Leave truncated items out: their counts say nothing."""
        self._sums = _Sums(*(each * DECAY for each in self._sums))
        self._add(pairs)
        if self._sums.n > 0 and self._sums.b > 0:
            self._line = _line(self._sums)
            self._plane = _plane(self._sums)

    def _add(self, pairs: Iterable[tuple[Size, int]]) -> None:
        n, b, s, t, bb, bs, ss, bt, st = self._sums
        for (bytes_, spaces), tokens in pairs:
            n += 1.0
            b += bytes_
            s += spaces
            t += tokens
            bb += bytes_ * bytes_
            bs += bytes_ * spaces
            ss += spaces * spaces
            bt += bytes_ * tokens
            st += spaces * tokens
        self._sums = _Sums(n, b, s, t, bb, bs, ss, bt, st)


def _line(sums: _Sums) -> tuple[float, float]:
    """(extra, tokens per byte)."""
    spread = sums.bb - sums.b * sums.b / sums.n
    slope = (sums.bt - sums.b * sums.t / sums.n) / spread if spread > 1e-6 * sums.bb else 0.0
    extra = (sums.t - slope * sums.b) / sums.n
    if slope <= 0 or extra < 0:  # the best line through the origin
        return 0.0, sums.bt / sums.bb
    return extra, slope


def _plane(sums: _Sums) -> tuple[float, float, float] | None:
    """(extra, tokens per byte, tokens per space); None where the texts were all of one size or had no spaces."""
    n, b, s, t, bb, bs, ss, bt, st = sums
    bytes_, spaces = bb - b * b / n, ss - s * s / n
    if bytes_ <= 1e-6 * bb or spaces <= 1e-6 * ss:
        return None
    both, of_bytes, of_spaces = bs - b * s / n, bt - b * t / n, st - s * t / n
    bytes_, spaces = bytes_ * (1 + RIDGE), spaces * (1 + RIDGE)
    determinant = bytes_ * spaces - both * both
    if determinant <= 0:
        return None
    per_byte = (of_bytes * spaces - of_spaces * both) / determinant
    per_space = (of_spaces * bytes_ - of_bytes * both) / determinant
    return (t - per_byte * b - per_space * s) / n, per_byte, per_space
