"""Runs rows through the model within the budget: batches in flight, the OOM loop, and the isolation of what raises."""

from __future__ import annotations

import gc
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from xinfer.batching.budget import TokenBudget
from xinfer.batching.form import batches, bounds, overhead
from xinfer.batching.timing import BatchTime, Slowdown
from xinfer.batching.work import BatchTrace
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import EngineError, OutOfMemory, XinferError
from xinfer.serving.forward import Flight, Row, Values, attempt, land, launch
from xinfer.serving.tally import Tally


class Memory(Protocol):
    """What bounds batches in bytes, beside the budget in tokens; for models with one batch in flight."""

    def most(self, items: int, longest: int) -> int:
        """How many of ``items`` padded to ``longest`` tokens may run together; 0 = one alone is far too much."""

    def ran(self, items: int, longest: int) -> None:
        """The batch that ``most`` was asked about last is over."""

    def released(self) -> None:
        """After a batch that found no memory, all that was kept is given back."""

    def refusal(self, longest: int) -> OutOfMemory:
        """The error of an item for which ``most`` gave 0."""


@dataclass(slots=True)
class BatchRunner:
    """Lives on the compute thread. ``add`` rows, then ``step`` while it is ``working``.

    As many batches are in flight as the model says: while one computes, the next is prepared and launched.

    Attributes:
        clock: seconds, monotonic.
        running_since: start of the forward pass in progress, None between two.
        broken: set when the device is lost for this process; nothing runs any more, and rows stay as they are.
        proved: tokens of the longest item that has run.
        spoiled: no batch goes through on this thread any more, on another it may; whoever moves there clears it.
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
    spoiled: bool = False
    _tried: Row | None = field(default=None, init=False)  # has its last try
    _formed: list[list[Row]] = field(default_factory=list, init=False)  # the next to run last
    _flying: deque[Flight] = field(default_factory=deque, init=False)  # in the order of their launches
    _landed_at: float = field(default=-math.inf, init=False)

    @property
    def working(self) -> bool:
        """Something waits or is in flight."""
        return bool(self._formed or self._flying)

    @property
    def wants_rows(self) -> bool:
        """A batch could be launched, and none is formed."""
        return not self._formed and self._may_launch

    @property
    def bulk_is_next(self) -> bool:
        """The next batch to be launched may be overtaken."""
        return bool(self._formed) and not self._formed[-1][0][0].urgent

    @property
    def _may_launch(self) -> bool:
        return len(self._flying) < self.model.in_flight

    def add(self, rows: Sequence[Row]) -> None:
        """Form batches of ``rows``, to run longest first, ahead of those that are formed already."""
        _, most = bounds(self.budget)
        formed = batches([_encoded(row).tokens for row in rows], most, overhead=overhead(self.timing, self.budget.tokens))
        self._formed += [[rows[place] for place in batch] for batch in reversed(formed)]

    def step(self) -> None:
        """Launch the next batch, if the device takes one more; when it takes no more, or none is left, settle the oldest."""
        if self._formed and self._may_launch:
            self._launch()
            if self._may_launch:
                return  # there may be more to launch before the wait
        if self._flying:
            self._land()

    def probe(self, item: Encoded) -> Values | XinferError:
        """A forward pass of one item that counts nowhere."""
        self._land_all()
        self.running_since = self.clock()
        outcome = attempt(self.model, [item])
        self.running_since = None
        self._note(outcome)
        return outcome

    def forget(self) -> None:
        """Drop all rows, settled or not."""
        self._formed.clear()
        self._flying.clear()
        self._tried = None
        self.running_since = None

    def _launch(self) -> None:
        """Take the next batch; it flies, or is back in pieces, or nobody waits for it any more."""
        batch = [row for row in self._formed.pop() if not row[0].dropped]
        if not batch:
            return
        encoded = [_encoded(row) for row in batch]
        pieces = self._too_large(batch, [item.tokens for item in encoded])
        if pieces is not None:
            self._formed += reversed(pieces)
            return
        started = self.clock()
        if self.running_since is None:
            self.running_since = started
        flight = Flight(batch, encoded, launch(self.model, encoded), started)
        self._flying.append(flight)
        if isinstance(flight.pending, XinferError):
            self._land_all()  # what to do about it is best known before anything else is launched

    def _land_all(self) -> None:
        while self._flying:
            self._land()

    def _land(self) -> None:
        """Wait for the oldest batch in flight and settle its rows; what must be tried again is formed anew, in smaller pieces."""
        flight = self._flying.popleft()
        trace, outcome = self._landed(flight)
        self._note(outcome)
        self._account(flight.batch, trace, outcome)
        if not isinstance(outcome, XinferError):
            self._tried = None
            for (shard, row), value in zip(flight.batch, outcome, strict=True):
                shard.settle(row, value if np.isfinite(value).all() else EngineError("The model gave a number that is not finite."))
        elif outcome.details.get("fatal"):
            self._break(outcome)
        else:
            self._formed += reversed(self._recover(flight, trace, outcome))

    def _recover(self, flight: Flight, trace: BatchTrace, failure: XinferError) -> list[list[Row]]:
        """What to run instead of a batch that failed; an item that failed alone has its error."""
        batch = flight.batch
        if isinstance(failure, OutOfMemory):
            if len(batch) == 1 and trace.longest <= self.proved:
                return self._once_more(batch, trace.longest)
            self._release()
            self.budget = self.budget.after_oom(trace.padded_tokens, trace.longest)
        if len(batch) == 1:
            batch[0][0].settle(batch[0][1], failure)
            return []
        middle = math.ceil(len(batch) / 2)
        halves = [batch[:middle], batch[middle:]]
        if not isinstance(failure, OutOfMemory):
            return halves
        smaller = _parts(batch, [item.tokens for item in flight.encoded], self.budget.tokens)
        return smaller if len(smaller) > 1 else halves

    def _break(self, failure: XinferError) -> None:
        self.broken = failure
        self.forget()

    def _once_more(self, batch: list[Row], longest: int) -> list[list[Row]]:
        """A single item that did not fit, though one as long has run: not the item is too large, the process has no room left.

        If a second try ends like the first, another replica, or a new process, has room: the item is not failed here.
        """
        if self._tried is batch[0]:
            self._break(self._no_room(longest))
            return []
        self._land_all()
        if self.broken is not None:
            return []  # by one of those
        self._release()
        self._tried = batch[0]
        return [batch]

    def _note(self, outcome: Values | XinferError) -> None:
        self.spoiled |= isinstance(outcome, OutOfMemory) and bool(outcome.details.get("spoils_thread"))

    def _no_room(self, longest: int) -> EngineError:
        return EngineError(f"No memory is left for an item of {longest} tokens; one of {self.proved} has run before.", fatal=True)

    def _release(self) -> None:
        # The pass is over and its frames are gone: what it held can be freed now.
        gc.collect()
        self.model.release_memory()
        if self.memory is not None:
            self.memory.released()

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
            self._break(self._no_room(longest))
            return []
        if most == 0 and self.memory is not None:
            alone = max(range(len(batch)), key=lengths.__getitem__)
            batch[alone][0].settle(batch[alone][1], self.memory.refusal(longest))
            return [rest] if (rest := batch[:alone] + batch[alone + 1 :]) else []
        # Longest first: what comes after the first piece is no longer than it.
        order = sorted(range(len(batch)), key=lambda place: -lengths[place])
        return [[batch[place] for place in order[start : start + most]] for start in range(0, len(order), most)]

    def _landed(self, flight: Flight) -> tuple[BatchTrace, Values | XinferError]:
        """The outcome of a batch. The device has worked on it since its launch, or since the batch before it landed."""
        count, longest = len(flight.encoded), flight.longest
        outcome = land(flight.pending, count)
        now = self.clock()
        seconds = now - max(flight.launched, self._landed_at)
        self._landed_at = now
        if self.memory is not None:
            self.memory.ran(count, longest)
        self.running_since = now if self._flying else None
        self.tally.busy_seconds += seconds
        return BatchTrace(count, longest, longest * count, sum(item.tokens for item in flight.encoded), seconds), outcome

    def _account(self, batch: Sequence[Row], trace: BatchTrace, outcome: Values | XinferError) -> None:
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


def _parts(batch: list[Row], lengths: Sequence[int], budget: int) -> list[list[Row]]:
    return [[batch[place] for place in part] for part in batches(lengths, budget)]


def _encoded(row: Row) -> Encoded:
    encoded = row[0].encoded[row[1]]
    if encoded is None:
        raise AssertionError("a row without tokens was queued")
    return encoded
