"""How the rows of one batch lie in its tensors: padded to (n, longest), or joined end to end as (1, tokens)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from xinfer.engines.base import Encoded

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """One batch's rows.

    Attributes:
        lengths: tokens of each row, known to the host, so that nothing must ask the device; () in a recording, which any rows go through.
        starts: (n + 1,) int32 on the model's device, where each row begins among all tokens; the last is their number.
        joined: the rows lie end to end, without padding.
        longest: tokens of the longest row; in a recording, of the longest there may be.
        tokens: of all rows.
    """

    lengths: tuple[int, ...]
    starts: torch.Tensor
    joined: bool
    longest: int
    tokens: int

    @classmethod
    def of(cls, lengths: Sequence[int], starts: torch.Tensor, joined: bool) -> Rows:
        """Rows of known lengths."""
        return cls(tuple(lengths), starts, joined, max(lengths), sum(lengths))

    def last(self) -> torch.Tensor:
        """(n,) index of each row's last token within the row."""
        return self.starts.diff() - 1

    def mask(self) -> torch.Tensor:
        """(n, longest) int64, 1 where a right-padded row has a token."""
        places = torch.arange(self.longest, device=self.starts.device)
        return (places[None, :] < self.starts.diff()[:, None]).long()

    def runs(self) -> list[tuple[int, int, int]]:
        """Neighbours of one length, as (first token, rows, length), those without tokens left out. May ask the device."""
        found: list[tuple[int, int, int]] = []
        start = 0
        for length in self.lengths or self.starts.diff().tolist():
            if length == 0:
                continue
            if found and found[-1][2] == length:
                found[-1] = (found[-1][0], found[-1][1] + 1, length)
            else:
                found.append((start, 1, length))
            start += length
        return found

    def padded(self, states: torch.Tensor) -> torch.Tensor:
        """Joined states (1, tokens, width) as (n, longest, width); what stands in the padding is finite and means nothing."""
        longest = self.longest
        if states.shape[:2] != (1, self.tokens):
            raise ValueError(f"the model made {tuple(states.shape)} of {self.tokens} joined tokens")
        if self.lengths and min(self.lengths) == longest:
            return states.view(len(self.lengths), longest, -1)
        places = self.starts[:-1, None] + torch.arange(longest, device=states.device)
        return states[0][places.clamp_(max=states.shape[1] - 1)]


def starts_of(lengths: Sequence[int]) -> Ints:
    """(n + 1,) where rows of these lengths begin when they lie end to end."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def filler(lengths: Sequence[int]) -> tuple[Encoded, ...]:
    """Rows of no meaning, none longer than these, that round their tokens up: to a multiple of 8, above 512 by 1/32 at most.

    For each number of tokens it meets oneDNN compiles kernels, about 1 MB, and keeps them for good.
    """
    tokens = sum(lengths)
    missing = -tokens % max(8, 1 << max(0, tokens.bit_length() - 6))
    return blank_rows(missing, max(lengths))  # a longer one could have more positions than the model


def blank_rows(tokens: int, longest: int) -> tuple[Encoded, ...]:
    """Rows of no meaning: ``tokens`` together, ``longest`` each at most."""
    return blank([min(longest, tokens - start) for start in range(0, tokens, longest or 1)])


def blank(lengths: Sequence[int]) -> tuple[Encoded, ...]:
    """Rows of no meaning of these lengths."""
    return tuple(Encoded({"input_ids": np.zeros(length, dtype=np.int64)}, length) for length in lengths)


def join(batch: Sequence[Encoded], names: Sequence[str], position_pad: int | None) -> dict[str, Ints]:
    """Model inputs (1, tokens) of rows laid end to end, ``position_ids`` among them.

    Args:
        names: inputs wanted; one that an item lacks is zero. There is no attention mask: nothing is padded.
        position_pad: as ``positions`` takes it.
    """
    arrays: dict[str, Ints] = {}
    for name in names:
        if name != "attention_mask":
            parts = [item.features[name] if name in item.features else np.zeros(item.tokens, dtype=np.int64) for item in batch]
            arrays[name] = np.concatenate(parts)[None]
    arrays["position_ids"] = np.concatenate([positions(item.features["input_ids"], position_pad) for item in batch])[None]
    return arrays


def positions(ids: Ints, position_pad: int | None) -> Ints:
    """Positions of one row, from 0; or as RoBERTa counts them: from the padding id + 1, tokens of that id left out."""
    if position_pad is None:
        return np.arange(len(ids), dtype=np.int64)
    counted = ids != position_pad
    return np.asarray(np.cumsum(counted) * counted + position_pad, dtype=np.int64)
