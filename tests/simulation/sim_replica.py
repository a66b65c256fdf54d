"""A simulated replica: it orders shards and forms batches as ``serving`` does, on a simulated clock."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from xinfer.batching.budget import TokenBudget
from xinfer.batching.form import batches, bounds, overhead
from xinfer.batching.line import ShardLine
from xinfer.batching.timing import BatchTime, Slowdown
from xinfer.batching.work import BatchTrace, ShardResult
from xinfer.cluster.ids import Epoch
from xinfer.cluster.routes import Route
from xinfer.errors import XinferError

JITTER = 0.03


class SimClock(Protocol):
    """What a replica needs of the simulation."""

    now: float
    dice: random.Random

    def at(self, when: float, act: Callable[[], object]) -> None:
        """Do it then."""


@dataclass(eq=False)
class SimShard:
    """One call at a replica."""

    lengths: list[int]
    urgent: bool
    answer: Callable[[ShardResult], None]
    tokens: int = 0
    left: int = 0
    dropped: bool = False
    traces: list[BatchTrace] = field(default_factory=list)


Row = tuple[SimShard, int]


@dataclass(eq=False)
class SimReplica:
    """Forms and orders batches as ``serving`` does; a batch takes ``(base + per_token * padded) * slow`` seconds, give or take."""

    route: Route
    base: float
    per_token: float
    slow: float = 1.0
    most_tokens: int | None = None  # memory: a batch above it fails and is split
    budget: TokenBudget = field(init=False)
    timing: BatchTime = field(init=False)
    drift: Slowdown = field(default_factory=Slowdown)
    line: ShardLine[SimShard] = field(default_factory=ShardLine)
    frames: list[tuple[bool, deque[list[Row]]]] = field(default_factory=list)
    held: list[SimShard] = field(default_factory=list)
    running: bool = False
    busy: float = 0.0
    documents: int = 0
    padded: int = 0
    real: int = 0
    shards: int = 0
    batches: int = 0
    faults: list[XinferError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget = TokenBudget.of(self.route.budget_tokens)
        self.timing = BatchTime(self.base, self.per_token)

    def reborn(self, epoch: int) -> SimReplica:
        """A new life in the same place, with nothing in it."""
        route = replace(self.route, epoch=Epoch(epoch), uid=f"{self.route.replica_id}@{epoch}")
        return SimReplica(route, self.base, self.per_token, self.slow)

    def arrive(self, clock: SimClock, shard: SimShard) -> None:
        """A shard is here, tokenised."""
        shard.left, shard.tokens = len(shard.lengths), sum(shard.lengths)
        self.shards += 1
        self.held.append(shard)
        self.line.add(shard)
        if not self.running:
            self.begin(clock)

    def begin(self, clock: SimClock) -> None:
        """Start the next batch, if there is one."""
        batch = self.next_batch()
        self.running = bool(batch)
        if not batch:
            return
        longest = max(shard.lengths[row] for shard, row in batch)
        padded = longest * len(batch)
        seconds = self.timing.predict(padded) * self.slow * max(0.5, clock.dice.gauss(1, JITTER))
        clock.at(clock.now + seconds, lambda: self.end(clock, batch, BatchTrace(len(batch), longest, padded, 0, seconds)))

    def next_batch(self) -> list[Row]:
        """As ``serving.compute`` chooses it."""
        while True:
            if self.frames and not self.frames[-1][1]:
                self.frames.pop()
                continue
            if not self.frames or not self.frames[-1][0]:
                taken = self.line.overtaking(self.budget.tokens) if self.frames else self.line.take(self.budget.tokens)
                if taken:
                    self.frames.append((taken[0].urgent, self.formed(taken)))
                    continue
            if not self.frames:
                return []
            batch = [row for row in self.frames[-1][1].popleft() if not row[0].dropped]
            if batch:
                return batch

    def formed(self, taken: Sequence[SimShard]) -> deque[list[Row]]:
        """Batches of these shards."""
        rows = [(shard, row) for shard in taken for row in range(len(shard.lengths))]
        cuts = batches(
            [shard.lengths[row] for shard, row in rows], bounds(self.budget)[1], overhead=overhead(self.timing, self.budget.tokens)
        )
        return deque([rows[place] for place in cut] for cut in cuts)

    def end(self, clock: SimClock, batch: list[Row], trace: BatchTrace) -> None:
        """A batch is done: answer the shards that are, go on."""
        self.busy += trace.seconds
        if self.most_tokens is not None and trace.padded_tokens > self.most_tokens and len(batch) > 1:
            self.budget = self.budget.after_oom(trace.padded_tokens, trace.longest)
            pieces = batches([shard.lengths[row] for shard, row in batch], self.budget.tokens)
            self.frames[-1][1].extendleft([batch[place] for place in piece] for piece in reversed(pieces))
            self.begin(clock)
            return
        self.budget = self.budget.after_clean()
        self.drift = self.drift.after(trace.seconds, self.timing.predict(trace.padded_tokens))
        self.batches += 1
        self.documents += len(batch)
        self.padded += trace.padded_tokens
        self.real += sum(shard.lengths[row] for shard, row in batch)
        for shard in dict.fromkeys(shard for shard, _ in batch):
            shard.traces.append(trace)
        for shard, _ in batch:
            shard.left -= 1
        for shard in [each for each in self.held if not each.left]:
            self.held.remove(shard)
            shard.answer(self.result(shard))
        self.begin(clock)

    def result(self, shard: SimShard) -> ShardResult:
        """The answer as it leaves."""
        return ShardResult(
            np.array(shard.lengths, dtype=np.float32),
            np.array(shard.lengths, dtype=np.int32),
            np.zeros(len(shard.lengths), dtype=bool),
            batches=tuple(shard.traces),
            compute_seconds=sum(trace.seconds for trace in shard.traces),
            queued_tokens=sum(each.tokens for each in self.held if not each.dropped),
            budget_tokens=bounds(self.budget)[0],
            slowdown=self.drift.value,
            busy_seconds=self.busy,
        )

    def drop(self, shard: SimShard) -> None:
        """Its caller has gone."""
        shard.dropped = True
        if shard in self.held:
            self.held.remove(shard)
