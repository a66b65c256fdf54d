"""What travels between an API process and a replica: items in, results out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xinfer.errors import XinferError


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One document of a rerank or one text of an embedding request.

    Attributes:
        text: the query of a pair, or the text to embed; token ids are allowed for embeddings.
        pair: the document, for rerank.
        prompt: name of one of the model's prompts, or None for its default.
        instruction: overrides the default instruction of an LLM-scored reranker.
        raw: skip the activation (rerank) or the normalisation (embedding).
    """

    text: str | tuple[int, ...]
    pair: str | None = None
    prompt: str | None = None
    instruction: str | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True)
class BatchTrace:
    """One forward pass: items, longest item, padded and real tokens, seconds of compute."""

    items: int
    longest: int
    padded_tokens: int
    real_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The answer to one shard.

    Attributes:
        values: float32, (n,) scores or (n, dim) vectors; the row of a failed item is NaN.
        tokens: int32 (n,), after truncation.
        truncated: bool (n,).
        errors: (row, error) of items that failed alone.
        batches: the forward passes that this shard took part in.
        wait_seconds, tokenize_seconds, compute_seconds: where the time went at the replica; they add up to its stay there.
        oom_splits: passes of this shard that ran out of memory.
        queued_tokens: tokens still waiting or running there as the answer left.
        budget_tokens: estimated padded tokens that a shard for this replica is best filled with, as the answer left; 0 = not said.
        slowdown: measured ÷ predicted batch time, smoothed; 1.0 while unknown.
        busy_seconds: compute time of this replica since it became ready.
        meta: notes for the client, such as ``scores_depend_on_batch``.
    """

    values: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int32]
    truncated: npt.NDArray[np.bool_]
    errors: tuple[tuple[int, XinferError], ...] = ()
    batches: tuple[BatchTrace, ...] = ()
    wait_seconds: float = 0.0
    tokenize_seconds: float = 0.0
    compute_seconds: float = 0.0
    oom_splits: int = 0
    queued_tokens: int = 0
    budget_tokens: int = 0
    slowdown: float = 1.0
    busy_seconds: float = 0.0
    meta: dict[str, Any] = field(default_factory=dict)
