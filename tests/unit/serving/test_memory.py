"""Batches within a reservation, against a made-up process: resident memory is the model, the batch, and what malloc kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.unit.serving.fakes import FakeModel, context
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.memory import MIB, with_headroom
from xinfer.engines import host_limit
from xinfer.engines.base import Encoded
from xinfer.errors import LaunchFailed
from xinfer.serving.calibrate import Limits, ModelKind
from xinfer.serving.memory import SPARE, HostMemory

LIMITS = Limits(0.15, 1 << 16)


class Process:
    """A model of ``idle`` bytes whose batches take ``per_token`` a padded token, and leave half of that with malloc.

    Attributes:
        unused: bytes that malloc holds without pages.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, idle: int = 400 * MIB, per_token: int = 100_000) -> None:
        self.idle, self.kept, self.per_token, self.top = idle, 0, per_token, idle
        self.unused = 0
        self.limits: list[int] = []
        self.model = FakeModel(before=self._run)
        self.model.release_memory = self._release  # type: ignore[method-assign]
        for name, value in {
            "resident": lambda: self.idle + self.kept,
            "private": lambda: self.idle + self.unused,
            "peak": lambda: self.top,
            "reset_peak": self._reset,
            "limit_private": self.limits.append,
            "trim": self._release,
        }.items():
            monkeypatch.setattr(host_limit, name, value)

    def _run(self, batch: Sequence[Encoded]) -> None:
        takes = len(batch) * max(item.tokens for item in batch) * self.per_token
        self.top = max(self.top, self.idle + self.kept + takes)
        self.kept = max(self.kept, takes // 2)

    def _release(self) -> None:
        self.kept = 0

    def _reset(self) -> bool:
        self.top = self.idle + self.kept
        return True

    def loaded(self, reserved: int) -> tuple[HostMemory, Limits]:
        memory = HostMemory.of(replace(context(), memory_bytes=reserved))
        assert memory is not None
        return memory, memory.loaded(self.model, ModelKind(pairs=True), LIMITS)


def test_nothing_is_bounded_on_a_gpu_or_without_a_reservation() -> None:
    assert HostMemory.of(replace(context(), device_kind=DeviceKind.GPU, memory_bytes=1 << 30)) is None
    assert HostMemory.of(context()) is None


def test_the_kernels_limit_is_above_the_reservation_and_calibration_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    _, limits = process.loaded(500 * MIB)
    assert process.limits[-1] == 500 * MIB + SPARE
    assert process.limits[0] > process.limits[-1]
    most = 500 * MIB - 500 * MIB // 32 - 400 * MIB
    assert 0.8 * most < limits.batch_tokens * process.per_token < most


def test_a_batch_is_cut_to_what_fits_and_kept_memory_goes_back_first(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    memory, _ = process.loaded(500 * MIB)
    assert memory.most(5, 64) == 5
    process.kept = 80 * MIB
    assert memory.most(5, 64) == 5
    assert process.kept == 0
    cut = memory.most(1000, 64)
    assert 1 < cut < 1000
    process.model.forward([ModelKind(pairs=True).item(process.model, 64)] * cut)
    assert process.top < 500 * MIB


def test_an_item_is_refused_only_when_it_is_far_over(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    memory, _ = process.loaded(500 * MIB)
    assert memory.most(1, 1500) == 1
    assert memory.most(1, 10_000) == 0
    assert "10000 tokens" in memory.refusal(10_000).message


def test_what_is_reported_is_enough_to_start_with_again(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    memory, limits = process.loaded(2000 * MIB)
    reported = memory.reports(process.model.reports(), 4096, 64)[0].used_bytes
    assert reported > 400 * MIB + 4096 * process.per_token
    again, limits = process.loaded(with_headroom(reported))
    assert limits.batch_tokens >= 4096
    assert again.most(4096 // 64, 64) == 4096 // 64
    assert again.reports(process.model.reports(), 4096, 64)[0].used_bytes == reported


def test_a_batch_that_took_more_than_predicted_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    memory, _ = process.loaded(1000 * MIB)
    before = memory.most(1000, 64)
    process.per_token *= 3
    assert memory.most(20, 64) == 20
    process.model.forward([ModelKind(pairs=True).item(process.model, 64)] * 20)
    memory.ran(20, 64)
    assert memory.most(1000, 64) < 0.6 * before


def test_weights_that_fill_the_reservation_are_refused_with_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    with pytest.raises(LaunchFailed, match="401 MiB are reserved, reserve"):
        process.loaded(401 * MIB)


def test_without_a_peak_from_the_kernel_only_its_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    monkeypatch.setattr(host_limit, "reset_peak", lambda: False)
    memory, limits = process.loaded(500 * MIB)
    assert (memory.footprint, limits, memory.most(10_000, 64)) == (None, LIMITS, 10_000)
    reports = process.model.reports()
    assert memory.reports(reports, 4096, 64) == reports


def test_what_malloc_holds_without_pages_is_not_taken_from_what_batches_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(monkeypatch)
    memory, _ = process.loaded(600 * MIB)
    assert process.limits[-1] == 600 * MIB + SPARE
    process.unused = 90 * MIB
    memory.released()
    assert process.limits[-1] == 690 * MIB + SPARE
