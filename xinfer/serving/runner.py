"""Runs rows through the model within the budget: the OOM loop, and the isolation of what raises."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xinfer.batching.budget import TokenBudget
from xinfer.batching.form import batches, bounds, overhead
from xinfer.batching.timing import BatchTime, Slowdown
from xinfer.batching.work import BatchTrace
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import EngineError, OutOfMemory, XinferError
from xinfer.serving.shard import Shard
from xinfer.serving.tally import Tally

Row = tuple[Shard, int]


class Memory(Protocol):
    """What bounds batches in bytes, beside the budget in tokens."""

    def most(self, items: int, longest: int) -> int:
        """How many of ``items`` padded to ``longest`` tokens may run together; 0 = one alone is far too much."""

    def ran(self, items: int, longest: int) -> None:
        """The batch that ``most`` was asked about last is over."""

    def refusal(self, longest: int) -> OutOfMemory:
        """The error of an item for which ``most`` gave 0."""


@dataclass(slots=True)
class BatchRunner:
    """Lives on the compute thread.

    Attributes:
        clock: seconds, monotonic.
        running_since: start of the forward pass in progress, None between two.
        broken: set when the device is lost for this process; nothing runs any more, and rows stay as they are.
        proved: tokens of the longest item that has run.
    """

    model: LoadedModel
    budget: TokenBudget
    timing: BatchTime
    clock: Callable[[], float]
    slowdown: Slowdown = field(default_factory=Slowdown)
    tally: Tally = field(default_factory=Tally)
    running_since: float | None = None
    broken: XinferError | None = None
    memory: Memory | None = None
    proved: int = 0

    def run(self, rows: Sequence[Row]) -> Iterator[None]:
        """Run all rows, longest first; yields after each batch, so that the caller may answer and look around."""
        waiting = self._formed(rows)
        while waiting:
            batch = [row for row in waiting.pop() if not row[0].dropped]
            if self.broken is not None:
                return
            if batch:
                waiting += reversed(self._one(batch))
                yield

    def probe(self, item: Encoded) -> npt.NDArray[np.float32] | XinferError:
        """A forward pass of one item that counts nowhere."""
        self.running_since = self.clock()
        outcome = attempt(self.model, [item])
        self.running_since = None
        return outcome

    def _formed(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Batches of ``rows``, the first to run last."""
        _, most = bounds(self.budget)
        formed = batches([_encoded(row).tokens for row in rows], most, overhead=overhead(self.timing, self.budget.tokens))
        return [[rows[place] for place in batch] for batch in reversed(formed)]

    def _one(self, batch: list[Row]) -> list[list[Row]]:
        """Run one batch and settle its rows; what must be tried again in smaller pieces is returned, in order."""
        encoded = [_encoded(row) for row in batch]
        pieces = self._too_large(batch, [item.tokens for item in encoded])
        if pieces is not None:
            return pieces
        trace, outcome = self._forward(encoded)
        if isinstance(outcome, OutOfMemory) and len(batch) == 1 and trace.longest <= self.proved:
            trace, outcome = self._once_more(encoded)
        self._account(batch, trace, outcome)
        if not isinstance(outcome, XinferError):
            for (shard, row), value in zip(batch, outcome, strict=True):
                shard.settle(row, value if np.isfinite(value).all() else EngineError("The model gave a number that is not finite."))
            return []
        if isinstance(outcome, OutOfMemory):
            self._release()
            self.budget = self.budget.after_oom(trace.padded_tokens, trace.longest)
        elif outcome.details.get("fatal"):
            self.broken = outcome
            return []
        if len(batch) == 1:
            for shard, row in batch:
                shard.settle(row, outcome)
            return []
        middle = math.ceil(len(batch) / 2)
        if not isinstance(outcome, OutOfMemory):
            return [batch[:middle], batch[middle:]]
        smaller = _parts(batch, [item.tokens for item in encoded], self.budget.tokens)
        return smaller if len(smaller) > 1 else [batch[:middle], batch[middle:]]

    def _once_more(self, encoded: Sequence[Encoded]) -> tuple[BatchTrace, npt.NDArray[np.float32] | XinferError]:
        """A single item that did not fit, though one as long has run: not the item is too large, the process has no room left.

        Another replica, or a new process, has: the item is not failed here.
        """
        self._release()
        trace, outcome = self._forward(encoded)
        return trace, self._no_room(trace.longest) if isinstance(outcome, OutOfMemory) else outcome

    def _no_room(self, longest: int) -> EngineError:
        return EngineError(f"No memory is left for an item of {longest} tokens; one of {self.proved} has run before.", fatal=True)

    def _release(self) -> None:
        # The pass is over and its frames are gone: what it held can be freed now.
        gc.collect()
        self.model.release_memory()

    def _too_large(self, batch: list[Row], lengths: list[int]) -> list[list[Row]] | None:
        """What to run instead of a batch that is not worth a try; None = run it.

        The budget may have fallen since it was formed, and memory may be known to be too small for it.
        """
        longest = max(lengths)
        if len(batch) > 1 and longest * len(batch) > bounds(self.budget)[1]:
            return _parts(batch, lengths, self.budget.tokens)
        most = len(batch) if self.memory is None else self.memory.most(len(batch), longest)
        if most >= len(batch):
            return None
        if most == 0 and longest <= self.proved:
            self.broken = self._no_room(longest)
            return []
        if most == 0 and self.memory is not None:
            alone = max(range(len(batch)), key=lengths.__getitem__)
            batch[alone][0].settle(batch[alone][1], self.memory.refusal(longest))
            return [rest] if (rest := batch[:alone] + batch[alone + 1 :]) else []
        # Longest first: what comes after the first piece is no longer than it.
        order = sorted(range(len(batch)), key=lambda place: -lengths[place])
        return [[batch[place] for place in order[start : start + most]] for start in range(0, len(order), most)]

    def _forward(self, encoded: Sequence[Encoded]) -> tuple[BatchTrace, npt.NDArray[np.float32] | XinferError]:
        longest = max(item.tokens for item in encoded)
        self.running_since = started = self.clock()
        outcome = attempt(self.model, encoded)
        seconds = self.clock() - started
        if self.memory is not None:
            self.memory.ran(len(encoded), longest)
        self.running_since = None
        self.tally.busy_seconds += seconds
        return BatchTrace(len(encoded), longest, longest * len(encoded), sum(item.tokens for item in encoded), seconds), outcome

    def _account(self, batch: Sequence[Row], trace: BatchTrace, outcome: npt.NDArray[np.float32] | XinferError) -> None:
        """Count a pass; one that failed has cost its shards time, and is no batch."""
        shards = {id(shard): shard for shard, _ in batch}.values()
        now = self.clock()
        for shard in shards:
            shard.compute_seconds += trace.seconds
            shard.computed_at = now
            shard.oom_splits += isinstance(outcome, OutOfMemory)
        if isinstance(outcome, XinferError):
            return
        self.proved = max(self.proved, trace.longest)
        self.budget = self.budget.after_clean(trace.padded_tokens)
        self.slowdown = self.slowdown.after(trace.seconds, self.timing.predict(trace.padded_tokens))
        self.tally.ran(trace)
        for shard in shards:
            shard.batches.append(trace)


def attempt(model: LoadedModel, encoded: Sequence[Encoded]) -> npt.NDArray[np.float32] | XinferError:
    """One forward pass, its failure as a value: an error on its way up would keep the failed batch in memory."""
    try:
        values = model.forward(encoded)
    except XinferError as error:
        return error.with_traceback(None)
    # The border of the replica: an engine is other people's code.
    except Exception as error:  # noqa: BLE001
        return EngineError(f"The model failed on the batch: {type(error).__name__}: {error}")
    if len(values) != len(encoded):
        return EngineError(f"The engine gave {len(values)} values for a batch of {len(encoded)}.")
    return values


def required(model: LoadedModel, encoded: Sequence[Encoded]) -> None:
    """A forward pass that must go through, for measuring. Raises what ``attempt`` returns."""
    outcome = attempt(model, encoded)
    if isinstance(outcome, XinferError):
        raise outcome


def _parts(batch: list[Row], lengths: Sequence[int], budget: int) -> list[list[Row]]:
    return [[batch[place] for place in part] for part in batches(lengths, budget)]


def _encoded(row: Row) -> Encoded:
    encoded = row[0].encoded[row[1]]
    if encoded is None:
        raise AssertionError("a row without tokens was queued")
    return encoded
