"""Warm-up and calibration: how long batches take here, and the smallest budget near the best throughput."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xinfer.batching.timing import BatchTime
from xinfer.batching.work import WorkItem
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import OutOfMemory
from xinfer.serving.forward import required

SMALLEST, LARGEST = 128, 1 << 16
FLOOR = 512
"""A budget below the model's longest input, or below this, buys no latency: such an input runs alone anyway."""
ITEM_TOKENS = 128
NEAR_BEST = 0.95
WORTHWHILE = 1.05
ROUNDS = 3
"""How often the sizes that matter are measured again, in turn, if there is time: other load comes and goes."""
CONTENDERS = 0.85
"""Sizes of less than this part of the best rate are out."""
UNEXPLAINED = 1.2
"""A batch takes no longer per token than a smaller one; by this factor more, something else was running."""
OFF = 2.0
"""A stored calibration whose prediction is off by this factor, either way, is not believed."""
OVERHEAD_SECONDS = 0.003
"""What a batch costs beside its forward pass: the hop, tokenising, the answer. It speaks for fewer, larger batches."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What calibration may take.

    Attributes:
        batch_seconds: longest batch accepted above the floor; a running batch is what an interactive request waits for.
        batch_tokens: upper bound of the budget.
        total_seconds: time for all of it; 0 = measure the smallest batch and the floor only.
    """

    batch_seconds: float
    batch_tokens: int
    total_seconds: float = 3.0

    @classmethod
    def of(cls, kind: DeviceKind, options: Mapping[str, Any]) -> Limits:
        """From the launch options ``max_batch_ms``, ``max_batch_tokens`` and ``calibrate_seconds``."""
        default_ms = 100.0 if kind is DeviceKind.GPU else 150.0
        return cls(
            batch_seconds=float(options.get("max_batch_ms") or default_ms) / 1000,
            batch_tokens=max(1, int(options.get("max_batch_tokens") or LARGEST)),
            total_seconds=float(options.get("calibrate_seconds", 3.0)),
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found.

    Attributes:
        budget_tokens: padded tokens per batch.
        speed: tokens/s at that budget.
        samples: (padded tokens, seconds) measured.
    """

    budget_tokens: int
    speed: float
    timing: BatchTime
    samples: tuple[tuple[int, float], ...]

    def stored(self, report: DeviceReport) -> StoredCalibration:
        """As it is kept: with the device it was measured on."""
        return StoredCalibration(
            device=report.name,
            threads=report.threads,
            budget_tokens=self.budget_tokens,
            speed=self.speed,
            base_seconds=self.timing.base,
            per_token_seconds=self.timing.per_token,
            samples=self.samples,
        )

    @classmethod
    def of(cls, stored: StoredCalibration) -> Calibration:
        """Out of the store."""
        timing = BatchTime(stored.base_seconds, stored.per_token_seconds)
        return cls(stored.budget_tokens, stored.speed, timing, stored.samples)


def confirmed(
    model: LoadedModel, kind: ModelKind, limits: Limits, stored: StoredCalibration | None, clock: Callable[[], float]
) -> Calibration | None:
    """The stored calibration if one full batch shows that it holds here; None = calibrate.

    Raises:
        OutOfMemory: not even a short item fits; EngineError: the model fails on plain text.
    """
    report = next(iter(model.reports()), None)
    if stored is None or report is None or (stored.device, stored.threads) != (report.name, report.threads):
        return None
    if not 0 < stored.budget_tokens <= limits.batch_tokens:
        return None
    bench = _Bench(model, kind, clock)
    count = max(1, stored.budget_tokens // bench.item.tokens)
    found = Calibration.of(stored)
    predicted = found.timing.predict(count * bench.item.tokens)
    for _ in range(3):  # the first pays for set-up, another may be disturbed
        try:
            seconds = bench.measure(count, 1)
        except OutOfMemory:
            model.release_memory()
            return None
        if predicted / OFF <= seconds <= predicted * OFF:
            return found
    return None


def calibrate(model: LoadedModel, kind: ModelKind, limits: Limits, clock: Callable[[], float]) -> Calibration:
    """Measure batches of doubling size until one is too slow, does not fit, or gains nothing; then look between sizes.

    Raises:
        OutOfMemory: not even the smallest batch fits; EngineError: the model fails on plain text.
    """
    end = clock() + limits.total_seconds
    bench = _Bench(model, kind, clock)
    most = max(1, limits.batch_tokens // bench.item.tokens)
    floor = min(most, math.ceil(min(model.max_tokens, FLOOR) / bench.item.tokens))
    roomy = _double(bench, limits, floor, most, end)
    _between(bench, limits, floor, most if roomy else max(bench.best), end)
    _again(bench, limits, floor, end)
    tokens, seconds = _chosen(bench.samples(), limits, floor * bench.item.tokens)
    samples = tuple(bench.samples())
    return Calibration(tokens, tokens / max(seconds, 1e-9), BatchTime.fit(samples), samples)


class ModelKind:
    """How a plain item of some length is made for the model at hand.

    Args:
        pairs: the model scores (query, document) pairs.
    """

    def __init__(self, pairs: bool) -> None:
        self._pairs = pairs

    def probe(self, words: int) -> WorkItem:
        """A harmless item of about ``words`` tokens."""
        return self.of("word", " ".join(["word"] * max(1, words)))

    def of(self, query: str, text: str) -> WorkItem:
        """A pair, or the text alone where the model takes no pairs."""
        return WorkItem(query, text) if self._pairs else WorkItem(text)

    def item(self, model: LoadedModel, tokens: int) -> Encoded:
        """A tokenised item of ``tokens`` tokens, or as near as the model's template lets it be."""
        (encoded,) = model.tokenize([self.probe(tokens)])
        if encoded.tokens <= tokens:
            return encoded
        return Encoded({name: np.ascontiguousarray(ids[:tokens]) for name, ids in encoded.features.items()}, tokens)


class _Bench:
    """Batches of one typical item, and the best time of each size so far."""

    def __init__(self, model: LoadedModel, kind: ModelKind, clock: Callable[[], float]) -> None:
        self.model = model
        self.clock = clock
        self._run([kind.item(model, min(8, model.max_tokens))])
        self.item = kind.item(model, min(ITEM_TOKENS, model.max_tokens))
        self.best: dict[int, float] = {}

    def measure(self, count: int, times: int) -> float:
        """Best seconds so far of a batch of ``count`` items, after ``times`` more runs. Raises as ``calibrate``."""
        batch = [self.item] * count
        for _ in range(times):
            self.best[count] = min(self.best.get(count, math.inf), self._run(batch))
        return self.best[count]

    def samples(self) -> list[tuple[int, float]]:
        """(padded tokens, seconds), by size."""
        return [(count * self.item.tokens, seconds) for count, seconds in sorted(self.best.items())]

    def time_for(self, count: int, runs: int, end: float) -> bool:
        """Whether ``runs`` of ``count`` items, as slow as the slowest rate seen, end in time."""
        worst = max(seconds / size for size, seconds in self.best.items())
        return self.clock() + runs * count * worst <= end

    def _run(self, batch: list[Encoded]) -> float:
        started = self.clock()
        required(self.model, batch)
        return self.clock() - started


def _double(bench: _Bench, limits: Limits, floor: int, most: int, end: float) -> bool:
    """Sizes of twice the last one; the floor is measured whatever the time. False: memory ended it."""
    count = max(1, min(SMALLEST // bench.item.tokens, most))
    while True:
        try:
            seconds = _settled(bench, count, limits, end)
        except OutOfMemory:
            bench.model.release_memory()
            if not bench.best:
                raise
            return False
        hurried = not bench.time_for(2 * count, 2, end)
        if count < floor:
            count = floor if hurried else min(2 * count, floor)
            continue
        if hurried or seconds > limits.batch_seconds or 2 * count > most or _flat(bench.samples()):
            return True
        count *= 2


def _settled(bench: _Bench, count: int, limits: Limits, end: float) -> float:
    """Measure one size; a time that the smaller sizes do not explain, or just over the limit, is measured again."""
    explained = min((seconds * count / smaller for smaller, seconds in bench.best.items()), default=math.inf)
    seconds = bench.measure(count, 2)  # the first run of a new shape pays for its set-up
    if limits.batch_seconds < seconds <= OFF * limits.batch_seconds and bench.time_for(count, 1, end):
        seconds = bench.measure(count, 1)
    for _ in range(ROUNDS):
        if seconds <= UNEXPLAINED * explained or not bench.time_for(count, 1, end):
            break
        seconds = bench.measure(count, 1)
    return seconds


def _between(bench: _Bench, limits: Limits, floor: int, most: int, end: float) -> None:
    """Half a doubling below the size that would be chosen now, and above it if the next doubling is out of reach."""
    tokens, _ = _chosen(bench.samples(), limits, floor * bench.item.tokens)
    count = tokens // bench.item.tokens
    reached = bench.best.get(2 * count, math.inf) <= limits.batch_seconds
    for other in (count * 3 // 4, count if reached else count * 3 // 2):
        if other in bench.best or not max(floor, SMALLEST // bench.item.tokens) < other <= most or not bench.time_for(other, 2, end):
            continue
        try:
            bench.measure(other, 2)
        except OutOfMemory:
            bench.model.release_memory()
            return


def _again(bench: _Bench, limits: Limits, floor: int, end: float) -> None:
    """The sizes that could be chosen, in turn, so that load which comes and goes slows none of them alone."""
    for _ in range(ROUNDS):
        usable = {tokens for tokens, _ in _accepted(bench.samples(), limits, floor * bench.item.tokens)}
        best = max(_rate(sample) for sample in bench.samples() if sample[0] in usable)
        for tokens, seconds in bench.samples():
            count = tokens // bench.item.tokens
            if tokens not in usable or _rate((tokens, seconds)) < CONTENDERS * best or not bench.time_for(count, 1, end):
                continue
            try:
                bench.measure(count, 1)
            except OutOfMemory:
                bench.model.release_memory()
                return


def _flat(samples: list[tuple[int, float]]) -> bool:
    """The last two doublings together gained less than a twentieth."""
    if len(samples) < 3:
        return False
    first, *later = (_rate(sample) for sample in samples[-3:])
    return max(later) < WORTHWHILE * first


def _rate(sample: tuple[int, float]) -> float:
    tokens, seconds = sample
    return tokens / (seconds + OVERHEAD_SECONDS)


def _accepted(samples: list[tuple[int, float]], limits: Limits, floor: int) -> list[tuple[int, float]]:
    """From the floor up: the floor itself, and what is within the time limit. Where memory ended below: the largest."""
    least, *more = [sample for sample in samples if sample[0] >= floor] or samples[-1:]
    return [least, *(sample for sample in more if sample[1] <= limits.batch_seconds)]


def _chosen(samples: list[tuple[int, float]], limits: Limits, floor: int) -> tuple[int, float]:
    """The smallest size near the best rate of those accepted."""
    accepted = _accepted(samples, limits, floor)
    best = max(_rate(sample) for sample in accepted)
    return next(sample for sample in accepted if _rate(sample) >= NEAR_BEST * best)
