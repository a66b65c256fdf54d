"""What a bare model does: tokenise and compute, called directly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

Pair = tuple[str, str]
"""Query and document; the query is "" for embeddings."""
Encoded = Mapping[str, list[int]]
"""``input_ids`` and what else the model takes, one number per token."""


class Bare(ABC):
    """A loaded model."""

    @abstractmethod
    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Token ids, not padded."""

    @abstractmethod
    def forward(self, batch: Sequence[Encoded]) -> list[Any]:
        """One padded batch to its end: a score or a vector for each."""
