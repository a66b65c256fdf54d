"""Batches launched ahead: the device has its next batch before the last one is waited for, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.serving.fakes import POISON, FakeModel, calibration, expected, item
from tests.unit.serving.gate import Gate
from tests.unit.serving.test_runner import Clock, assert_right, run, runner, shard_of
from xinfer.batching.budget import TokenBudget
from xinfer.engines.base import Encoded, Pending
from xinfer.errors import EngineError, OutOfMemory
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.compute import ComputeThread
from xinfer.serving.server import ModelServer

pytestmark = pytest.mark.timeout(60)


class AheadModel(FakeModel):
    """Its device takes ``in_flight`` batches, and keeps the answers of no more: results must be taken in order.

    Args:
        late: of two batches out of memory one says so at its result only.
        landing: called when a result is waited for.
    """

    def __init__(self, in_flight: int = 2, most_tokens: int | None = None, late: bool = False) -> None:
        super().__init__(most_tokens)
        self.in_flight = in_flight
        self.late = late
        self.landing: Callable[[], None] = lambda: None
        self.events: list[str] = []
        self.flying: list[int] = []
        self._numbers = itertools.count(1)

    def launch(self, batch: Sequence[Encoded]) -> Pending:
        number = next(self._numbers)
        assert len(self.flying) < self.in_flight, "a batch too many"
        self.events.append(f"launch {number}")
        try:
            outcome: npt.NDArray[np.float32] | Exception = super().forward(batch)
        except (OutOfMemory, EngineError) as error:
            if isinstance(error, OutOfMemory) and not (self.late and number % 2):
                raise
            outcome = error
        self.flying.append(number)
        return Landing(self, number, outcome)

    def forward(self, batch: Sequence[Encoded]) -> npt.NDArray[np.float32]:
        return self.launch(batch).result()


@dataclass(frozen=True)
class Landing(Pending):
    model: AheadModel
    number: int
    outcome: npt.NDArray[np.float32] | Exception = field(repr=False)

    def result(self) -> npt.NDArray[np.float32]:
        self.model.landing()
        assert self.model.flying.pop(0) == self.number, "results were not taken in order"
        self.model.events.append(f"result {self.number}")
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_the_next_batch_is_launched_before_the_oldest_is_waited_for() -> None:
    model = AheadModel()
    texts = ["a b c d"] * 4
    shard = shard_of(model, texts)
    run(runner(model, 4), shard)
    assert_right(shard, texts)
    assert model.events == ["launch 1", "launch 2", "result 1", "launch 3", "result 2", "launch 4", "result 3", "result 4"]


def test_one_place_for_a_batch_is_one_batch_after_the_other() -> None:
    model = AheadModel(in_flight=1)
    shard = shard_of(model, texts := ["a b c d"] * 2)
    run(runner(model, 4), shard)
    assert_right(shard, texts)
    assert model.events == ["launch 1", "result 1", "launch 2", "result 2"]


def test_busy_time_counts_an_hour_that_two_batches_share_once() -> None:
    model = AheadModel()
    subject = runner(model, 4)
    run(subject, shard_of(model, ["a b c d"] * 10))
    assert isinstance(subject.clock, Clock)
    assert subject.tally.busy_seconds < subject.clock.now
    assert subject.running_since is None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_oom_and_poison_beside_batches_in_flight_are_of_their_items_alone(seed: int, late: bool) -> None:
    dice = random.Random(seed)
    hidden = dice.randint(20, 200)
    model = AheadModel(dice.choice([2, 3]), most_tokens=hidden, late=late)
    texts = [POISON if dice.random() < 0.1 else "w " * dice.randint(1, min(64, hidden * 11 // 10)) for _ in range(dice.randint(1, 60))]
    shard = shard_of(model, texts)
    run(runner(model, 512), shard)
    too_long = [row for row, text in enumerate(texts) if len(text.split()) > hidden]
    assert_right(shard, texts, failed=[row for row, text in enumerate(texts) if text == POISON or row in too_long])
    assert all(isinstance(shard.errors[row], OutOfMemory) for row in too_long)
    assert not model.flying


def test_a_device_that_is_lost_at_a_result_runs_nothing_more() -> None:
    model = AheadModel()

    def lose() -> None:
        raise EngineError("CUDA error: device lost", fatal=True)

    model.landing = lose
    subject = runner(model, 4)
    shard = shard_of(model, ["a b c d"] * 10)
    run(subject, shard)
    assert subject.broken is not None
    assert model.events == ["launch 1", "launch 2"]
    assert shard.left == 10


def test_memory_that_runs_out_for_a_single_item_is_tried_again_with_nothing_in_flight() -> None:
    model = AheadModel(most_tokens=100)
    subject = runner(model, 100)
    run(subject, shard_of(model, ["w " * 40]))
    model.most_tokens, model.events = 10, []
    shard = shard_of(model, ["w " * 10, "w " * 30])
    subject.budget = TokenBudget.of(30)
    run(subject, shard)
    assert subject.broken is not None
    assert shard.left == 2
    assert model.events == ["launch 2", "launch 3"]


def test_a_single_item_short_of_memory_at_its_result_is_tried_again_after_what_flies_behind_it() -> None:
    model = AheadModel(most_tokens=100, late=True)
    subject = runner(model, 100)
    for _ in range(2):
        run(subject, shard_of(model, ["w " * 40]))
    model.most_tokens, model.events = 20, []
    subject.budget = TokenBudget.of(30)
    shard = shard_of(model, ["w " * 10, "w " * 30])
    run(subject, shard)
    assert subject.broken is not None
    assert model.events == ["launch 3", "launch 4", "result 3", "result 4", "launch 5", "result 5"]
    assert shard.left == 1


def test_a_probe_waits_for_what_is_in_flight() -> None:
    model = AheadModel()
    subject = runner(model, 4)
    shard = shard_of(model, texts := ["a b c d"])
    subject.add([(shard, 0)])
    subject.step()
    assert subject.running_since is not None
    subject.probe(model.tokenize([item("x y")])[0])
    assert_right(shard, texts)
    assert model.events == ["launch 1", "result 1", "launch 2", "result 2"]


def test_a_pass_is_running_until_the_last_batch_has_landed() -> None:
    model = AheadModel()
    subject = runner(model, 4)
    shard = shard_of(model, ["a b c d"] * 2)
    subject.add([(shard, 0), (shard, 1)])
    subject.step()
    first = subject.running_since
    subject.step()
    assert model.events[-1] == "result 1"
    assert subject.running_since is not None
    assert first is not None
    assert subject.running_since > first
    subject.step()
    assert subject.running_since is None


def serve(model: AheadModel, budget: int = 4) -> ModelServer:
    return ModelServer(model, ModelKind(pairs=True), calibration(budget), ComputeThread())


async def queued(server: ModelServer, tokens: int) -> None:
    """Wait until so many tokens are through the tokeniser."""
    while server.stats().queued_tokens < tokens:
        await asyncio.sleep(0.001)


async def test_the_next_shard_is_launched_before_the_first_is_waited_for() -> None:
    gate, model = Gate(), AheadModel()
    server = serve(model)
    model.before = gate  # holds the first launch until the second shard is there
    first = asyncio.create_task(server.run((item("a b c d"),)))
    await gate.reached()
    second = asyncio.create_task(server.run((item("e f g h"),)))
    await queued(server, 8)
    gate.let(2)
    await asyncio.gather(first, second)
    assert model.events == ["launch 1", "launch 2", "result 1", "result 2"]
    assert await server.close()


async def test_the_first_shard_is_answered_while_the_next_one_computes() -> None:
    model = AheadModel()
    server = serve(model)
    launching, landing = Gate(), Gate()
    model.before, model.landing = launching, lambda: landing(())
    first = asyncio.create_task(server.run((item("a b c d"),)))
    await launching.reached()
    second = asyncio.create_task(server.run((item("e f g h"),)))
    await queued(server, 8)
    launching.let(2)
    landing.let(1)
    assert (await first).values.tolist() == [4.0]
    assert not second.done()
    landing.let(1)
    assert (await second).values.tolist() == [4.0]
    assert await server.close()


async def test_a_health_check_waits_for_what_is_in_flight_and_every_answer_stays_right() -> None:
    model = AheadModel()
    server = serve(model)
    texts = [f"{'w' * n} x y z" for n in range(1, 9)]
    runs = [asyncio.create_task(server.run((item(text),))) for text in texts]
    for _ in range(5):
        await server.health()
    results = await asyncio.gather(*runs)
    assert [result.values[0] for result in results] == [expected(text) for text in texts]
    assert await server.close()


async def test_a_shard_whose_caller_has_gone_is_forgotten_though_its_batch_flies() -> None:
    model = AheadModel()
    server = serve(model)
    landing = Gate()
    model.landing = lambda: landing(())
    gone = asyncio.create_task(server.run((item("a b c d"), item("e f g h"), item("i j k l"))))
    await landing.reached()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    landing.let(100)
    assert (await server.run((item("m n"),))).values.tolist() == [2.0]
    assert server._compute._taken == []
    assert sum(model.forwards) == 4 + 4 + 2
    assert await server.close()


def test_nothing_has_a_second_try_where_the_batch_behind_it_broke_the_device() -> None:
    errors: list[Exception] = []
    model = AheadModel(late=True)
    model.before = lambda batch: _raise(errors.pop(0)) if errors else None
    subject = runner(model, 40)
    for _ in range(2):
        run(subject, shard_of(model, ["w " * 40]))
    errors += [OutOfMemory("full"), EngineError("lost", fatal=True)]
    run(subject, shard_of(model, ["w " * 30] * 2))
    assert subject.broken is not None
    assert subject.broken.message == "lost"
    assert (subject.working, len(model.forwards)) == (False, 2)


def _raise(error: Exception) -> None:
    raise error
