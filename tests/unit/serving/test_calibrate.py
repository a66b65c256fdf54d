"""Calibration against a model whose time is made up: it moves the clock itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.serving.fakes import FakeModel
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.device import DeviceKind
from xinfer.engines.base import Encoded
from xinfer.errors import EngineError, OutOfMemory
from xinfer.serving.calibrate import Calibration, Limits, ModelKind, calibrate, confirmed


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


def test_a_budget_below_the_longest_input_buys_nothing_so_the_floor_stands_however_slow_it_is() -> None:
    slow = Bench(lambda tokens: 0.010 + tokens * 5.5e-4)
    slow.model.max_tokens = 512
    found = slow.calibrate()
    assert found.budget_tokens == 512
    assert found.timing.predict(512) == pytest.approx(0.010 + 512 * 5.5e-4)


def test_the_floor_of_a_model_of_long_inputs_is_512() -> None:
    slow = Bench(lambda tokens: tokens * 1e-3)
    slow.model.max_tokens = 8192
    assert slow.calibrate().budget_tokens == 512


def test_the_floor_gives_way_to_the_bound_on_tokens_and_to_memory() -> None:
    for bench, bound in ((Bench(lambda tokens: tokens * 1e-4), 300), (Bench(lambda tokens: tokens * 1e-4, most_tokens=300), 1 << 16)):
        bench.model.max_tokens = 512
        assert bench.calibrate(batch_tokens=bound).budget_tokens == 256


def test_the_floor_is_measured_though_the_time_is_up_and_nothing_more() -> None:
    bench = Bench(lambda tokens: 1.0)
    bench.model.max_tokens = 512
    found = bench.calibrate(total_seconds=0.0)
    assert found.budget_tokens == 512
    assert [tokens for tokens, _ in found.samples] == [128, 512]


def test_half_a_doubling_is_taken_where_it_is_near_enough() -> None:
    found = Bench(lambda tokens: 0.014 + tokens * 1e-4 if tokens >= 700 else 0.06 + tokens * 1e-4).calibrate()
    assert found.budget_tokens == 768


def test_half_a_doubling_more_is_taken_where_a_whole_one_is_too_slow() -> None:
    assert Bench(lambda tokens: 0.040 + tokens * 7e-5).calibrate().budget_tokens == 1536


@pytest.mark.parametrize("seed", range(20))
def test_load_that_comes_and_goes_changes_neither_budget_nor_speed_much(seed: int) -> None:
    dice = random.Random(seed)
    calm = Bench(lambda tokens: 0.020 + tokens * 1e-4).calibrate(total_seconds=3.0)
    noisy = Bench(lambda tokens: (0.020 + tokens * 1e-4) * dice.choice([1.0, 1.02, 1.1, 2.5])).calibrate(total_seconds=3.0)
    assert calm.budget_tokens / 1.5 <= noisy.budget_tokens <= calm.budget_tokens * 1.5
    assert noisy.speed == pytest.approx(calm.speed, rel=0.12)


def stored(**changes: Any) -> StoredCalibration:
    found = Bench(lambda tokens: 0.020 + tokens * 1e-4).calibrate()
    return replace(found.stored(FakeModel().reports()[0]), **changes)


def confirm(bench: Bench, what: StoredCalibration | None, batch_tokens: int = 1 << 16) -> Calibration | None:
    return confirmed(bench.model, ModelKind(pairs=True), Limits(0.15, batch_tokens), what, lambda: bench.now)


def test_a_stored_calibration_is_confirmed_by_one_full_batch() -> None:
    bench = Bench(lambda tokens: 0.021 + tokens * 1.05e-4)
    found = confirm(bench, stored())
    assert found is not None
    assert found.stored(bench.model.reports()[0]) == stored()
    assert bench.model.forwards == [8, 1024]


@pytest.mark.parametrize("factor", [2.5, 0.3])
def test_a_stored_calibration_that_is_far_off_is_not_believed(factor: float) -> None:
    assert confirm(Bench(lambda tokens: factor * (0.020 + tokens * 1e-4)), stored()) is None


def test_one_disturbed_batch_does_not_refute_a_stored_calibration() -> None:
    times = iter([0.0, 9.0, 0.1224])
    assert confirm(Bench(lambda tokens: next(times)), stored()) is not None


def test_a_stored_calibration_that_does_not_fit_the_memory_is_not_believed() -> None:
    bench = Bench(lambda tokens: 0.020 + tokens * 1e-4, most_tokens=600)
    assert confirm(bench, stored()) is None
    assert bench.model.released == 1


@pytest.mark.parametrize("changes", [{"device": "another"}, {"threads": 3}, {"budget_tokens": 0}])
def test_a_calibration_of_another_device_is_never_trusted(changes: dict[str, Any]) -> None:
    bench = Bench(lambda tokens: 0.020 + tokens * 1e-4)
    assert confirm(bench, stored(**changes)) is None
    assert bench.model.forwards == []


def test_a_calibration_beyond_the_bound_on_tokens_is_not_taken() -> None:
    assert confirm(Bench(lambda tokens: 0.020 + tokens * 1e-4), stored(), batch_tokens=512) is None
    assert confirm(Bench(lambda tokens: 0.02), None) is None
