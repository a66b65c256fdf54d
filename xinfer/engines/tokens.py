"""Text to token ids, through the ``tokenizers`` library: both engines share this, so their token counts agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xinfer.engines.base import Encoded
from xinfer.errors import InvalidItem

Text = str | tuple[str, str]

CHARS_PER_TOKEN = 16
"""A text longer than this many characters per token of the maximum is first tried cut: a megabyte costs a second otherwise."""
MARGIN = 32
"""Tokens that must be left over for a cut text to be trusted: the cut itself may spoil the last word."""


class TextTokenizer:
    """Truncating tokeniser.

    Args:
        backend: a ``tokenizers.Tokenizer``; a copy is made, since padding and truncation are its state.
        max_tokens: special tokens included.
        truncation_side: "right" or "left".
        type_ids: also give ``token_type_ids``.
    """

    def __init__(self, backend: Any, max_tokens: int, truncation_side: str = "right", type_ids: bool = False) -> None:
        self._backend = type(backend).from_str(backend.to_str())
        self._backend.no_padding()
        self._side = truncation_side
        self.type_ids = type_ids
        self.max_tokens = max_tokens
        self.vocabulary: int = self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, texts: Sequence[Text], *, special: bool = True, max_tokens: int | None = None) -> list[Encoded]:
        """Tokenise and truncate, pairs longest first.

        Raises:
            InvalidItem: a text is not valid Unicode, or comes to no token at all.
        """
        limit = self.max_tokens if max_tokens is None else max_tokens
        self._backend.enable_truncation(limit, strategy="longest_first", direction=self._side)
        characters = CHARS_PER_TOKEN * limit + 256 if self._side == "right" else None
        shortened = [_cut(text, characters) for text in texts]
        encodings = self._run([short for short, _ in shortened], special)
        doubtful = [i for i, (_, parts) in enumerate(shortened) if not all(_left_over(encodings[i], part) >= MARGIN for part in parts)]
        for i, encoding in zip(doubtful, self._run([texts[i] for i in doubtful], special), strict=True):
            encodings[i] = encoding
        return [self._encoded(encoding) for encoding in encodings]

    def ids(self, text: str) -> list[int]:
        """Tokens of a piece of a template: no special tokens added, nothing truncated."""
        self._backend.no_truncation()
        found: list[int] = self._run([text], False)[0].ids
        return found

    def id_of(self, token: str) -> int:
        """Id of one token of the vocabulary; 0 when it has none of that name."""
        found = self._backend.token_to_id(token)
        return int(found) if found is not None else 0

    def given(self, ids: Sequence[int]) -> Encoded:
        """Token ids that the caller brought.

        Raises:
            InvalidItem: none, or one outside the vocabulary.
        """
        if not ids:
            raise InvalidItem("input: a list of token ids must not be empty.", param="input")
        if min(ids) < 0 or max(ids) >= self.vocabulary:
            raise InvalidItem(f"input: token ids must be in 0..{self.vocabulary - 1}, this model's vocabulary.", param="input")
        kept = np.asarray(ids[: self.max_tokens], dtype=np.int64)
        return self._of(kept, np.zeros_like(kept), len(ids) > self.max_tokens)

    def _run(self, texts: Sequence[Text], special: bool) -> list[Any]:
        if not texts:
            return []
        try:
            return list(self._backend.encode_batch_fast(list(texts), add_special_tokens=special))
        except (TypeError, UnicodeError, ValueError) as error:
            raise InvalidItem("The text is not valid Unicode (a lone surrogate, perhaps); send well-formed UTF-8.") from error

    def _encoded(self, encoding: Any) -> Encoded:
        ids = np.asarray(encoding.ids, dtype=np.int64)
        if not len(ids):
            raise InvalidItem("The text is empty, and this model adds no tokens of its own; send at least one character.")
        kinds = np.asarray(encoding.type_ids, dtype=np.int64) if self.type_ids else ids
        return self._of(ids, kinds, bool(encoding.overflowing))

    def _of(self, ids: npt.NDArray[np.int64], kinds: npt.NDArray[np.int64], truncated: bool) -> Encoded:
        features = {"input_ids": ids, "token_type_ids": kinds} if self.type_ids else {"input_ids": ids}
        return Encoded(features, len(ids), truncated)


def _cut(text: Text, characters: int | None) -> tuple[Text, tuple[int, ...]]:
    """The text or pair, shortened, and which of its parts were."""
    if characters is None:
        return text, ()
    if isinstance(text, str):
        return (text[:characters], (0,)) if len(text) > characters else (text, ())
    parts = tuple(i for i in (0, 1) if len(text[i]) > characters)
    return (text[0][:characters], text[1][:characters]), parts


def _left_over(encoding: Any, part: int) -> int:
    """Tokens of one part of a pair that truncation dropped."""
    return sum(sum(1 for of in piece.sequence_ids if of == part) for piece in encoding.overflowing)


def pad(batch: Sequence[Encoded], pad_id: int, names: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Right-padded model inputs.

    Returns:
        for each of ``names`` an array (n, longest): ``attention_mask`` and ``position_ids`` are made here,
        ``token_type_ids`` is zero where the tokeniser gives none.
    """
    longest = max(item.tokens for item in batch)
    shape = (len(batch), longest)
    arrays: dict[str, npt.NDArray[np.int64]] = {}
    for name in names:
        if name == "position_ids":
            arrays[name] = np.tile(np.arange(longest, dtype=np.int64), (len(batch), 1))
            continue
        padded = np.full(shape, pad_id if name == "input_ids" else 0, dtype=np.int64)
        for row, item in enumerate(batch):
            if name == "attention_mask":
                padded[row, : item.tokens] = 1
            elif name in item.features:
                padded[row, : item.tokens] = item.features[name]
        arrays[name] = padded
    return arrays
