"""One call's items on their way through the replica: rows in, values out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xinfer.batching.work import BatchTrace, ShardResult, WorkItem
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import XinferError

Answer = Callable[[ShardResult | XinferError], None]


@dataclass(slots=True, eq=False)
class Shard:
    """One shard from its arrival to its answer. Owned by one thread at a time: tokeniser, then compute.

    Attributes:
        encoded: by row; None where tokenising failed.
        values: raw model outputs by row; None where none is known.
        errors: by row.
        left: rows that still wait for a value.
        computed_at: its last batch ended; None before the first.
        compute_seconds: of the passes it took part in, failed ones too.
        urgent: interactive; it runs before what is not, between two batches.
        dropped: the caller has gone; what has not run will not.
    """

    items: Sequence[WorkItem]
    answer: Answer
    arrived: float
    urgent: bool = False
    encoded: list[Encoded | None] = field(default_factory=list)
    values: list[npt.NDArray[np.float32] | None] = field(default_factory=list)
    errors: dict[int, XinferError] = field(default_factory=dict)
    batches: list[BatchTrace] = field(default_factory=list)
    left: int = 0
    tokens: int = 0
    tokenize_seconds: float = 0.0
    queued_at: float = 0.0
    computed_at: float | None = None
    compute_seconds: float = 0.0
    oom_splits: int = 0
    dropped: bool = False

    def tokenized(self, encoded: list[Encoded | None], errors: dict[int, XinferError], seconds: float, now: float) -> None:
        """Take the tokeniser's result over."""
        self.encoded, self.errors = encoded, errors
        self.values = [None] * len(encoded)
        self.left = sum(1 for item in encoded if item is not None)
        self.tokens = sum(item.tokens for item in encoded if item is not None)
        self.tokenize_seconds, self.queued_at = seconds, now

    @property
    def stay_seconds(self) -> float:
        """From its arrival until its last batch ended."""
        return max(0.0, (self.queued_at if self.computed_at is None else self.computed_at) - self.arrived)

    @property
    def wait_seconds(self) -> float:
        """Time here, until its last batch ended, in which it was neither tokenised nor computed."""
        return max(0.0, self.stay_seconds - self.tokenize_seconds - self.compute_seconds)

    def settle(self, row: int, outcome: npt.NDArray[np.float32] | XinferError) -> None:
        """Give one row its value or its error."""
        if isinstance(outcome, XinferError):
            self.errors[row] = outcome
        else:
            self.values[row] = outcome
        self.left -= 1


def result_of(shard: Shard, model: LoadedModel, **figures: Any) -> ShardResult:
    """The answer: activation or normalisation applied except to ``raw`` items, NaN rows where an item failed."""
    known = next((value for value in shard.values if value is not None), None)
    shape = () if known is None and not model.dimensions else (model.dimensions,) if known is None else known.shape
    values = np.full((len(shard.items), *shape), np.nan, dtype=np.float32)
    for row, value in enumerate(shard.values):
        if value is not None:
            values[row] = value
    cooked = np.array([not item.raw for item in shard.items], dtype=np.bool_)
    values[cooked] = finish(values[cooked], model)
    return ShardResult(
        values=values,
        tokens=np.array([0 if item is None else item.tokens for item in shard.encoded], dtype=np.int32),
        truncated=np.array([item is not None and item.truncated for item in shard.encoded], dtype=np.bool_),
        errors=tuple(sorted(shard.errors.items())),
        batches=tuple(shard.batches),
        wait_seconds=shard.wait_seconds,
        tokenize_seconds=shard.tokenize_seconds,
        compute_seconds=shard.compute_seconds,
        oom_splits=shard.oom_splits,
        meta={"scores_depend_on_batch": True} if model.scores_depend_on_batch else {},
        **figures,
    )


def finish(values: npt.NDArray[np.float32], model: LoadedModel) -> npt.NDArray[np.float32]:
    """Activation of scores (n,), or unit length of vectors (n, dim); a zero vector stays one."""
    if values.ndim == 2:
        if not model.normalize:
            return values
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.maximum(lengths, 1e-12), dtype=np.float32)
    if model.activation != "sigmoid":
        return values
    # Via tanh: no overflow at either end.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values.astype(np.float64))), dtype=np.float32)
