"""ModelServer: threads, order of answers, back-pressure, cancelling, health, the end. Gates instead of sleeps."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.serving.fakes import POISON, UNREADABLE, FakeEngine, FakeModel, calibration, context, expected, item
from tests.unit.serving.gate import Gate
from xinfer.batching.budget import TokenBudget
from xinfer.batching.work import ShardResult
from xinfer.catalog.spec import Dtype
from xinfer.engines.base import Encoded
from xinfer.errors import EngineError, InvalidItem, LaunchFailed, OutOfMemory, ReplicaBusy, ReplicaLost
from xinfer.serving.calibrate import ModelKind
from xinfer.serving.compute import ComputeThread
from xinfer.serving.server import ModelServer

pytestmark = pytest.mark.timeout(60)


Make = Callable[..., ModelServer]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Servers around a fake model, closed at the end."""
    servers: list[ModelServer] = []

    def build(model: FakeModel, budget: int = 64, max_shards: int = 16) -> ModelServer:
        servers.append(ModelServer(model, ModelKind(pairs=True), calibration(budget), ComputeThread(), max_shards=max_shards))
        return servers[-1]

    yield build
    for server in servers:
        assert await server.close()


async def test_a_shard_is_answered_in_its_own_order_with_its_figures(make: Make) -> None:
    model = FakeModel()
    texts = ["a", "bb cc dd", "eeee " * 30, "f g", "w " * 100]
    result = await make(model).run(tuple(item(text) for text in texts))
    assert result.values.tolist() == [1.0, 6.0, 120.0, 2.0, 64.0]
    assert result.tokens.tolist() == [1, 3, 30, 2, 64]
    assert result.truncated.tolist() == [False, False, False, False, True]
    assert sum(trace.items for trace in result.batches) == 5
    assert result.compute_seconds > 0
    assert result.busy_seconds >= result.compute_seconds
    assert model.tokenize_threads == {"MainThread", "xinfer-tokenize_0"}  # the main thread's: the probe of the health check
    assert model.forward_threads == {"xinfer-compute"}


async def test_an_empty_shard_is_answered(make: Make) -> None:
    result = await make(FakeModel()).run(())
    assert len(result.values) == 0


async def test_the_event_loop_is_free_while_the_model_computes(make: Make) -> None:
    gate = Gate()
    server = make(FakeModel(before=gate))
    running = asyncio.create_task(server.run((item("a"),)))
    await gate.reached()
    await asyncio.sleep(0)
    stats = server.stats()
    assert (stats.queued_items, stats.queued_tokens) == (1, 1)
    gate.let()
    await running
    assert server.stats().queued_items == 0


async def test_the_older_shard_is_answered_before_the_newer_one_runs(make: Make) -> None:
    gate = Gate()
    server = make(FakeModel(before=gate), budget=4)
    older = asyncio.create_task(server.run((item("a b c d"),)))
    await gate.reached()
    newer = asyncio.create_task(server.run((item("e f g h"),)))
    gate.let()
    await older
    assert not newer.done()
    gate.let()
    await newer


async def test_small_shards_that_wait_share_one_batch(make: Make) -> None:
    gate, model = Gate(), FakeModel()
    model.before = gate
    server = make(model)
    first = asyncio.create_task(server.run((item("a"),)))
    await gate.reached()
    others = [asyncio.create_task(server.run((item("b " * n),))) for n in (1, 2, 3)]
    await queued(server, 7)
    gate.let(2)
    results = await asyncio.gather(first, *others)
    assert [result.values[0] for result in results] == [1.0, 1.0, 2.0, 3.0]
    assert model.forwards == [1, 9]


async def test_bad_items_fail_alone_in_both_stages(make: Make) -> None:
    texts = ["good one", UNREADABLE, "fine", POISON, "well done"] + ["more words here"] * 8
    for _ in range(10):
        result = await make(FakeModel()).run(tuple(item(text) for text in texts))
        errors = dict(result.errors)
        assert sorted(errors) == [1, 3]
        assert isinstance(errors[1], InvalidItem)
        assert isinstance(errors[3], EngineError)
        good = [row for row in range(len(texts)) if row not in errors]
        assert [result.values[row] for row in good] == [expected(texts[row]) for row in good]
        assert np.isnan(result.values[[1, 3]]).all()


async def test_a_bad_item_does_not_hurt_the_shard_it_shares_a_batch_with(make: Make) -> None:
    gate, model = Gate(), FakeModel()
    model.before = gate
    server = make(model)
    first = asyncio.create_task(server.run((item("a"),)))
    await gate.reached()
    good = asyncio.create_task(server.run((item("b c"),)))
    bad = asyncio.create_task(server.run((item(POISON),)))
    await queued(server, 4)
    gate.let(100)
    await first
    assert (await good).errors == ()
    assert [row for row, _ in (await bad).errors] == [0]


async def test_a_shard_of_nothing_but_bad_items_is_answered(make: Make) -> None:
    result = await make(FakeModel()).run((item(UNREADABLE), item(UNREADABLE)))
    assert len(result.errors) == 2


async def test_oom_is_not_seen_but_counted(make: Make) -> None:
    model = FakeModel(most_tokens=20)
    server = make(model, budget=512)
    result = await server.run(tuple(item("w " * 10) for _ in range(30)))
    assert result.errors == ()
    assert result.values.tolist() == [10.0] * 30
    assert server.stats().oom_splits > 0
    assert server.stats().budget_tokens <= 20


async def test_too_many_shards_are_refused_and_nothing_is_lost(make: Make) -> None:
    gate = Gate()
    server = make(FakeModel(before=gate), max_shards=2)
    held = [asyncio.create_task(server.run((item("a"),))) for _ in range(2)]
    await gate.reached()
    with pytest.raises(ReplicaBusy):
        await server.run((item("b"),))
    gate.let(10)
    await asyncio.gather(*held)
    assert (await server.run((item("b"),))).values.tolist() == [1.0]


async def test_what_a_cancelled_caller_waits_for_does_not_run(make: Make) -> None:
    gate, model = Gate(), FakeModel()
    model.before = gate
    server = make(model, budget=2)
    first = asyncio.create_task(server.run((item("a b"),)))
    await gate.reached()
    five = tuple(item("c d") for _ in range(5))
    gone = asyncio.create_task(server.run(five))
    await queued(server, 12)
    await cancelled(gone)
    gate.let(100)
    await first
    await server.drained()
    await server.run((item("e f"),))
    assert sum(model.forwards) == 4
    assert server.stats().queued_tokens == 0


async def test_a_cancelled_shard_stops_between_its_batches(make: Make) -> None:
    gate, model = Gate(), FakeModel()
    model.before = gate
    server = make(model, budget=2)
    five = tuple(item("c d") for _ in range(5))
    gone = asyncio.create_task(server.run(five))
    await gate.reached()
    await cancelled(gone)
    gate.let(100)
    await server.run((item("e f"),))
    assert sum(model.forwards) == 4


async def cancelled(task: asyncio.Task[ShardResult]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def queued(server: ModelServer, tokens: int) -> None:
    """Wait until so many tokens are through the tokeniser."""
    while server.stats().queued_tokens < tokens:
        await asyncio.sleep(0.001)


async def test_drained_waits_for_the_last_shard(make: Make) -> None:
    gate = Gate()
    server = make(FakeModel(before=gate))
    running = asyncio.create_task(server.run((item("a"),)))
    await gate.reached()
    drained = asyncio.create_task(server.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    gate.let()
    await asyncio.gather(running, drained)


async def test_health_is_a_real_forward_between_two_batches_of_a_long_queue(make: Make) -> None:
    gate, model = Gate(), FakeModel()
    model.before = gate
    server = make(model, budget=2)
    fifty = tuple(item("a b") for _ in range(50))
    running = asyncio.create_task(server.run(fifty))
    await gate.reached()
    health = asyncio.create_task(server.health())
    await asyncio.sleep(0)
    gate.let(2)  # the batch in progress, then the probe
    await health
    assert model.forwards == [2, 8]  # eight tokens: the probe
    assert not running.done()
    gate.let(100)
    await running
    assert server.stats().items == 50


async def test_a_busy_replica_is_healthy_and_a_stalled_one_is_not(make: Make) -> None:
    gate = Gate()
    server = make(FakeModel(before=gate))
    running = asyncio.create_task(server.run((item("a"),)))
    await gate.reached()
    await server.health(timeout=0.05, stall_seconds=60.0)
    server._runner.running_since = server._clock() - 100.0
    with pytest.raises(EngineError, match="finished nothing"):
        await server.health(timeout=0.05, stall_seconds=60.0)
    gate.let(10)
    await running


async def test_health_fails_when_the_forward_does(make: Make) -> None:
    model = FakeModel()
    server = make(model)

    def fail(batch: Sequence[Encoded]) -> None:
        raise RuntimeError("no more")

    model.before = fail
    with pytest.raises(EngineError, match="no more"):
        await server.health()


async def test_a_lost_device_sends_the_work_elsewhere(make: Make) -> None:
    model = FakeModel()
    server = make(model)

    def lose(batch: Sequence[Encoded]) -> None:
        raise EngineError("CUDA error: device lost", fatal=True)

    model.before = lose
    for _ in range(2):
        with pytest.raises(ReplicaLost):
            await server.run((item("a"), item("b")))
    with pytest.raises(EngineError):
        await server.health()


async def test_closing_answers_what_waits_and_frees_the_model() -> None:
    gate, model = Gate(), FakeModel()
    model.before = gate
    server = ModelServer(model, ModelKind(pairs=True), calibration(2), ComputeThread())
    waiting = [asyncio.create_task(server.run((item("a b"), item("c d")))) for _ in range(3)]
    await gate.reached()
    closing = asyncio.create_task(server.close())
    while not server._compute._closed:
        await asyncio.sleep(0.001)
    gate.let(100)
    assert await closing
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, ReplicaLost) for outcome in outcomes)
    assert model.closed.is_set()
    with pytest.raises(ReplicaLost):
        await server.run((item("a"),))


async def test_load_calibrates_and_tells_when_it_warms_up() -> None:
    warmed: list[bool] = []
    model = FakeModel()
    server = await ModelServer.load(FakeEngine(model), context(), on_warmup=lambda: warmed.append(model.forwards == []))
    assert warmed == [True]
    assert server.budget_tokens >= 64
    assert server.speed > 0
    assert server.stats().busy_seconds == 0
    assert server.reports()[0].uuid == "CPU-fake-0"
    assert (await server.run((item("a"),))).values.tolist() == [1.0]
    assert model.forward_threads == {"xinfer-compute"}
    assert await server.close()


async def test_a_failed_load_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with pytest.raises(LaunchFailed, match="no such file"):
        await ModelServer.load(FakeEngine(LaunchFailed("no such file")), context())
    begun = [thread for thread in threading.enumerate() if thread not in before and thread.name == "xinfer-compute"]
    for thread in begun:
        thread.join(5)
    assert not any(thread.is_alive() for thread in begun)


async def test_load_confirms_what_an_equal_replica_measured_instead_of_measuring() -> None:
    model = FakeModel()
    first = await ModelServer.load(FakeEngine(model), context())
    stored = replace(first.calibration.stored(model.reports()[0]), base_seconds=0.0, per_token_seconds=1e-6, speed=7.0)
    await first.close()
    model.forwards.clear()
    ticks = itertools.count()
    again = await ModelServer.load(FakeEngine(model), context(), stored=stored, clock=lambda: next(ticks) * 64e-6)
    assert (again.speed, again.budget_tokens) == (7.0, stored.budget_tokens)
    assert len(model.forwards) == 2
    assert (again.dtype, again.dtype_why) == (Dtype.FLOAT32, "")
    await again.close()


async def test_a_thread_that_fails_for_good_where_memory_ran_out_is_replaced_unseen(make: Make) -> None:
    spoiled: list[threading.Thread] = []
    used: set[threading.Thread] = set()

    def before(batch: Sequence[Encoded]) -> None:
        used.add(threading.current_thread())
        if len(batch) > 4 or threading.current_thread() in spoiled:
            spoiled.append(threading.current_thread())
            raise OutOfMemory("no room for a kernel", spoils_thread=True)

    server = make(FakeModel(before=before))
    texts = ["w " * 4] * 16
    for _ in range(3):
        server._runner.budget = TokenBudget.of(64)
        result = await server.run(tuple(item(text) for text in texts))
        assert not result.errors
        assert result.values.tolist() == [expected(text) for text in texts]
    assert len(spoiled) == len(set(spoiled)) == len(used) - 1 > 2, "each thread ended with its first failure, and only then"


async def test_a_single_item_has_its_second_try_on_the_new_thread(make: Make) -> None:
    spoiled: list[threading.Thread] = []
    failing = False

    def before(batch: Sequence[Encoded]) -> None:
        if failing and (not spoiled or threading.current_thread() in spoiled):
            spoiled.append(threading.current_thread())
            raise OutOfMemory("no room for a kernel", spoils_thread=True)

    server = make(FakeModel(before=before))
    await server.run((item("w w w"),))
    failing = True
    result = await server.run((item("w w"),))
    assert (result.values.tolist(), result.errors) == ([2.0], ())
    assert len(spoiled) == 1
