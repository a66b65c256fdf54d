"""Calibration against a model whose time is made up: it moves the clock itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.unit.serving.fakes import FakeModel
from xinfer.cluster.device import DeviceKind
from xinfer.engines.base import Encoded
from xinfer.errors import EngineError, OutOfMemory
from xinfer.serving.calibrate import Calibration, Limits, ModelKind, calibrate


class Bench:
    """A model of 64 tokens at most, its forward pass taking ``seconds(padded tokens)``."""

    def __init__(self, seconds: Callable[[int], float], most_tokens: int | None = None) -> None:
        self.now = 0.0
        self._seconds = seconds
        self.model = FakeModel(most_tokens, self._before)

    def _before(self, batch: Sequence[Encoded]) -> None:
        self.now += self._seconds(len(batch) * max(item.tokens for item in batch))

    def calibrate(self, batch_seconds: float = 0.15, batch_tokens: int = 1 << 16, total_seconds: float = 1e9) -> Calibration:
        return calibrate(self.model, ModelKind(pairs=True), Limits(batch_seconds, batch_tokens, total_seconds), lambda: self.now)


def test_a_slow_cpu_gets_the_largest_batch_under_its_time_limit_when_each_doubling_pays() -> None:
    found = Bench(lambda tokens: 0.020 + tokens * 1e-4).calibrate()
    assert found.budget_tokens == 1024
    assert found.speed == pytest.approx(1024 / (0.020 + 0.1024))
    assert found.timing.predict(512) == pytest.approx(0.020 + 0.0512)


def test_a_flat_curve_gets_a_small_batch() -> None:
    found = Bench(lambda tokens: tokens * 2e-4).calibrate(batch_seconds=1.0)
    assert found.budget_tokens == 256


def test_the_smallest_batch_stands_when_even_it_is_too_slow() -> None:
    found = Bench(lambda tokens: tokens * 0.01).calibrate()
    assert found.budget_tokens == 128
    assert found.speed == pytest.approx(100)


def test_memory_ends_the_search_and_is_given_back() -> None:
    bench = Bench(lambda tokens: 0.02, most_tokens=1500)
    found = bench.calibrate()
    assert found.budget_tokens == 1024
    assert bench.model.released == 1


def test_a_model_that_fits_nothing_does_not_become_ready() -> None:
    with pytest.raises(OutOfMemory):
        Bench(lambda tokens: 0.02, most_tokens=4).calibrate()


def test_a_model_that_fails_on_plain_text_does_not_become_ready() -> None:
    bench = Bench(lambda tokens: 0.02)

    def fail(batch: Sequence[Encoded]) -> None:
        raise ValueError("no kernel for this")

    bench.model.before = fail
    with pytest.raises(EngineError, match="no kernel for this"):
        bench.calibrate()


def test_the_bound_on_tokens_is_kept() -> None:
    assert Bench(lambda tokens: 0.02).calibrate(batch_tokens=300).budget_tokens == 256


def test_calibration_ends_in_time() -> None:
    bench = Bench(lambda tokens: 0.1)
    bench.calibrate(total_seconds=1.0)
    assert bench.now <= 1.0


def test_limits_come_from_the_launch_options() -> None:
    limits = Limits.of(DeviceKind.CPU, {"max_batch_ms": 80, "max_batch_tokens": 4096, "calibrate_seconds": 0})
    assert limits == Limits(0.08, 4096, 0.0)
    assert Limits.of(DeviceKind.CPU, {}).batch_seconds == 0.15
