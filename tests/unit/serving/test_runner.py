"""The OOM loop and isolation, on one thread with a clock of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.serving.fakes import POISON, FakeModel, calibration, expected, item
from xinfer.batching.budget import TokenBudget
from xinfer.engines.base import Encoded
from xinfer.errors import EngineError, OutOfMemory
from xinfer.serving.runner import BatchRunner
from xinfer.serving.shard import Shard


class Clock:
    """Goes on by a millisecond at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def runner(model: FakeModel, budget: int) -> BatchRunner:
    return BatchRunner(model, TokenBudget.of(budget), calibration(budget).timing, Clock())


def shard_of(model: FakeModel, texts: list[str]) -> Shard:
    items = [item(text) for text in texts]
    shard = Shard(items, lambda outcome: None, 0.0)
    shard.tokenized(list(model.tokenize(items)), {}, 0.0, 0.0)
    return shard


def run(runner: BatchRunner, *shards: Shard) -> None:
    runner.add([(shard, row) for shard in shards for row in range(len(shard.items))])
    while runner.working:
        runner.step()


def assert_right(shard: Shard, texts: list[str], failed: Sequence[int] = ()) -> None:
    assert shard.left == 0
    assert sorted(shard.errors) == sorted(failed)
    for row, text in enumerate(texts):
        if row not in failed:
            assert shard.values[row] == pytest.approx(expected(text))


def test_batches_stay_within_the_budget_and_values_return_to_their_rows() -> None:
    model = FakeModel()
    texts = ["w " * n for n in (1, 30, 2, 17, 30, 5, 1, 60)]
    shard = shard_of(model, texts)
    run(runner(model, 64), shard)
    assert_right(shard, texts)
    assert max(model.forwards) <= 64
    assert len(model.forwards) < len(texts)


def test_two_shards_share_a_batch_and_each_gets_its_own_values() -> None:
    model = FakeModel()
    a, b = ["aa bb", "c"], ["dddd e"]
    one, two = shard_of(model, a), shard_of(model, b)
    run(runner(model, 64), one, two)
    assert_right(one, a)
    assert_right(two, b)
    assert len(model.forwards) == 1
    assert one.batches == two.batches


@pytest.mark.parametrize("seed", range(20))
def test_oom_above_a_hidden_size_is_never_seen_by_the_caller(seed: int) -> None:
    dice = random.Random(seed)
    hidden = dice.randint(20, 200)
    model = FakeModel(most_tokens=hidden)
    texts = ["w " * dice.randint(1, min(hidden, 60)) for _ in range(dice.randint(1, 60))]
    engine = runner(model, 512)
    shard = shard_of(model, texts)
    run(engine, shard)
    assert_right(shard, texts)


def test_after_learning_the_size_splits_are_rare() -> None:
    model = FakeModel(most_tokens=100)
    engine = runner(model, 1024)
    texts = ["w " * n for n in (10, 20, 30, 40, 25)] * 8
    run(engine, shard_of(model, texts))
    learnt = engine.budget.splits
    assert 0 < learnt <= 10
    assert model.released == learnt
    before = engine.tally.batches
    while engine.tally.batches < before + 300:
        run(engine, shard_of(model, texts))
    assert engine.budget.splits - learnt <= 3


def test_one_item_too_large_for_the_memory_fails_alone() -> None:
    model = FakeModel(most_tokens=40)
    texts = ["w " * 10, "w " * 50, "w " * 39]
    shard = shard_of(model, texts)
    run(runner(model, 512), shard)
    assert_right(shard, texts, failed=[1])
    assert isinstance(shard.errors[1], OutOfMemory)


@pytest.mark.parametrize("places", [[0], [6], [12], [3, 4], list(range(13))])
def test_one_bad_item_among_twelve_good_ones_fails_alone(places: list[int]) -> None:
    model = FakeModel()
    texts = [POISON if row in places else "good " * (row % 4 + 1) for row in range(13)]
    shard = shard_of(model, texts)
    engine = runner(model, 512)
    run(engine, shard)
    assert_right(shard, texts, failed=places)
    assert all(isinstance(shard.errors[row], EngineError) for row in places)
    assert engine.budget.splits == 0


def test_a_number_that_is_not_finite_is_an_error_of_its_row() -> None:
    class Overflows(FakeModel):
        def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
            values = super().forward(batch)
            values[values == 3] = np.inf
            return values

    model = Overflows()
    texts = ["aa", "aaa", "aaaa"]
    shard = shard_of(model, texts)
    run(runner(model, 64), shard)
    assert_right(shard, texts, failed=[1])


def test_a_lost_device_ends_the_run_at_once() -> None:
    class Lost(FakeModel):
        def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
            self.forwards.append(len(batch))
            raise EngineError("CUDA error: an illegal memory access was encountered", fatal=True)

    model = Lost()
    engine = runner(model, 4)
    run(engine, shard_of(model, ["a b c d"] * 20))
    assert engine.broken is not None
    assert len(model.forwards) == 1


def test_rows_of_a_dropped_shard_do_not_run() -> None:
    model = FakeModel()
    texts = ["a b"] * 4
    gone, stays = shard_of(model, ["poison"] * 4), shard_of(model, texts)
    gone.dropped = True
    run(runner(model, 4), gone, stays)
    assert_right(stays, texts)
    assert sum(model.forwards) == 8


def test_the_tally_counts_what_ran() -> None:
    model = FakeModel()
    engine = runner(model, 64)
    run(engine, shard_of(model, ["a b c", "a"]))
    assert (engine.tally.items, engine.tally.tokens, engine.tally.padded_tokens, engine.tally.batches) == (2, 4, 6, 1)
    assert engine.tally.busy_seconds == pytest.approx(0.001)


class Room:
    """Memory for ``most_padded`` tokens at once, or for none of a single item above ``hopeless`` tokens."""

    def __init__(self, most_padded: int, hopeless: int = 1000) -> None:
        self.most_padded, self.hopeless = most_padded, hopeless
        self.over: list[int] = []
        self.releases = 0

    def most(self, items: int, longest: int) -> int:
        return 0 if longest > self.hopeless else max(1, min(items, self.most_padded // longest))

    def ran(self, items: int, longest: int) -> None:
        self.over.append(items * longest)

    def released(self) -> None:
        self.releases += 1

    def refusal(self, longest: int) -> OutOfMemory:
        return OutOfMemory(f"{longest} tokens are too many")


def test_batches_are_cut_to_the_memory_before_they_run_and_that_is_no_oom() -> None:
    model = FakeModel()
    texts = ["w " * n for n in (1, 30, 2, 17, 30, 5, 1, 60, 12, 12)]
    engine = runner(model, 512)
    engine.memory = room = Room(60)
    shard = shard_of(model, texts)
    run(engine, shard)
    assert_right(shard, texts)
    assert max(model.forwards) <= 60
    assert room.over == model.forwards
    assert (engine.budget.splits, engine.budget.tokens) == (0, 512)


def test_memory_hears_of_what_was_given_back_after_an_oom() -> None:
    model = FakeModel(most_tokens=100)
    engine = runner(model, 160)
    engine.memory = room = Room(160)
    run(engine, shard_of(model, ["w " * 10] * 16))
    assert room.releases == engine.budget.splits == model.released == 1


def test_an_item_that_memory_will_never_hold_is_refused_without_a_try() -> None:
    model = FakeModel()
    texts = ["w " * n for n in (10, 50, 39, 50)]
    engine = runner(model, 512)
    engine.memory = Room(512, hopeless=40)
    shard = shard_of(model, texts)
    run(engine, shard)
    assert_right(shard, texts, failed=[1, 3])
    assert "50 tokens" in shard.errors[1].message
    assert max(model.forwards) <= 2 * 39


def test_what_was_formed_before_the_budget_fell_is_not_tried_at_its_old_size() -> None:
    model = FakeModel(most_tokens=100)
    engine = runner(model, 512)
    texts = ["w " * 10] * 300
    run(engine, shard_of(model, texts))
    assert sum(padded > 100 for padded in model.forwards) <= 3


def test_an_item_as_long_as_one_that_ran_is_not_blamed_for_a_process_without_memory() -> None:
    model = FakeModel(most_tokens=100)
    subject = runner(model, 100)
    run(subject, shard_of(model, ["w " * 40]))
    model.most_tokens = 10
    shard = shard_of(model, ["w " * 30])
    run(subject, shard)
    assert subject.broken is not None
    assert "No memory is left" in subject.broken.message
    assert not shard.errors
    assert shard.left == 1


def test_memory_that_comes_back_with_what_was_kept_serves_the_item() -> None:
    class Keeps(FakeModel):
        def release_memory(self) -> None:
            super().release_memory()
            self.most_tokens = 100

    model = Keeps(most_tokens=100)
    subject = runner(model, 100)
    run(subject, shard_of(model, ["w " * 40]))
    model.most_tokens = 10
    shard = shard_of(model, texts := ["w " * 30])
    run(subject, shard)
    assert subject.broken is None
    assert_right(shard, texts)


def test_an_item_that_has_run_before_is_not_refused_by_a_prediction_but_the_process_replaced() -> None:
    model = FakeModel()
    subject = runner(model, 100)
    run(subject, shard_of(model, ["w " * 40]))
    subject.memory = Room(100, hopeless=0)
    shard = shard_of(model, ["w " * 30])
    run(subject, shard)
    assert subject.broken is not None
    assert not shard.errors
    assert shard.left == 1
