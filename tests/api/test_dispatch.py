"""The dispatcher on a real event loop, with replicas that answer when the test says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tests.api.event_replicas import LONG, Call, FakeReplicas, M, docs, right, route, table, turn, value, zero
from xinfer.api.dispatch import Dispatcher
from xinfer.api.results import RunResult
from xinfer.batching.work import WorkItem
from xinfer.cluster.ids import Epoch, ModelUid
from xinfer.cluster.routes import RouteTable
from xinfer.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidItem,
    ModelLoading,
    ModelNotFound,
    ReplicaBusy,
    ReplicaLost,
    StaleEpoch,
    TooManyRequests,
    Unavailable,
)
from xinfer.settings import Limits, Timings


async def test_order_tokens_truncation_and_shards(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    replicas.auto = Call.ok
    items = [*docs(5, 900), *docs(2, 2400), *docs(30)]
    result = await dispatcher.run(M, items, request_id="r1")
    assert right(result, items)
    assert result.tokens == sum(len(item.text) // 4 for item in items)
    assert result.truncated == (5, 6)
    assert sum(shard.items for shard in result.shards) == 37
    assert {shard.replica_id for shard in result.shards} == {"a", "b"}
    assert max(replicas.most.values()) == 2  # the next shard is there when the first ends, and no more
    story = dispatcher.why("r1")
    assert story is not None
    assert (story["outcome"], story["items"], story["tokens"]) == ("ok", 37, result.tokens)
    assert len(story["shards"][0]["candidates"]) == 2
    assert dispatcher.why("r2") is None
    stats = dispatcher.stats()
    assert stats["models"]["m"]["documents_total"] == 37
    assert sum(figures["documents_total"] for figures in stats["replicas"].values()) == 37
    assert stats["replicas"]["a"]["requests_total"] == 1
    assert stats["replicas"]["a"]["busy_seconds"] == 1.5


async def test_vectors_come_back_as_rows(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    replicas.auto = lambda call: call.ok(dim=3)
    items = docs(40)
    result = await dispatcher.run(M, items)
    assert result.values.shape == (40, 3)
    assert result.values.dtype == np.float32
    assert result.values[:, 2].tolist() == [value(item) for item in items]
    assert result.meta == {"dim": 3}


async def test_one_request_works_on_all_idle_replicas_and_small_ones_share(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(*(route(name, budget=4096) for name in "abcd")))
    large = asyncio.create_task(dispatcher.run(M, docs(20)))
    await replicas.until(lambda: len(replicas.calls) >= 4)
    assert {call.route.replica_id for call in replicas.calls} == set("abcd")
    assert sum(len(call.items) for call in replicas.calls) == 20
    for call in list(replicas.calls):
        call.ok()
    await large
    replicas.seen.clear()
    dispatcher.update_routes(table(route("a", budget=4096), version=2))
    replicas.auto = Call.ok
    await asyncio.gather(*(dispatcher.run(M, docs(1)) for _ in range(12)))
    assert [len(call.items) for call in replicas.seen] == [12]


async def test_a_request_is_answered_the_moment_its_last_item_is_done(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    first = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    second = asyncio.create_task(dispatcher.run(M, docs(40)))
    await replicas.until(lambda: len(replicas.calls) == 2)
    replicas.calls[0].ok()
    assert right(await first, docs(2))
    assert not second.done()
    replicas.auto = Call.ok
    for call in list(replicas.calls):
        call.ok()
    assert right(await second, docs(40))


async def test_the_first_routes_can_be_waited_for(dispatcher: Dispatcher) -> None:
    assert not await dispatcher.first_routes(0.01)
    waiting = asyncio.create_task(dispatcher.first_routes(30))
    await asyncio.sleep(0)
    assert not waiting.done()
    dispatcher.update_routes(table(route("a")))
    assert await waiting


async def test_unknown_loading_failed_and_not_yet_polled(dispatcher: Dispatcher) -> None:
    with pytest.raises(Unavailable, match="routes"):
        await dispatcher.run(M, docs(1))
    dispatcher.update_routes(table(starting=1, was_ready=False))
    with pytest.raises(ModelNotFound, match="'other' is not running"):
        await dispatcher.run(ModelUid("other"), docs(1))
    with pytest.raises(ModelLoading) as loading:
        await dispatcher.run(M, docs(1))
    assert loading.value.retry_after == 2
    dispatcher.update_routes(table(version=2, failed="no such file"))
    with pytest.raises(Unavailable, match="no such file"):
        await dispatcher.run(M, docs(1))


async def test_work_is_held_until_a_replica_is_back(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    replicas.auto = Call.ok
    dispatcher.update_routes(table(starting=1))
    held = asyncio.create_task(dispatcher.run(M, docs(3)))
    await turn()
    assert dispatcher.stats()["models"]["m"]["queued_items"] == 3
    dispatcher.update_routes(table(route("a"), version=2))
    assert right(await held, docs(3))


async def test_holding_ends(dispatcher: Dispatcher) -> None:
    dispatcher.update_routes(table(starting=1))
    with pytest.raises(ModelLoading, match="became ready"):
        await dispatcher.run(M, docs(3))


async def test_stopping_or_giving_up_answers_what_waits(dispatcher: Dispatcher) -> None:
    dispatcher.update_routes(table(starting=1))
    held = asyncio.create_task(dispatcher.run(M, docs(3)))
    await turn()
    dispatcher.update_routes(table(version=2, failed="out of memory"))
    with pytest.raises(Unavailable, match="out of memory"):
        await held
    dispatcher.update_routes(table(version=3, starting=1))
    held = asyncio.create_task(dispatcher.run(M, docs(3)))
    await turn()
    dispatcher.update_routes(RouteTable(Epoch(1), 4, {}))
    with pytest.raises(ModelNotFound, match="stopped"):
        await held
    await turn()
    assert dispatcher.stats()["models"] == {}


async def test_replica_killed_under_load_costs_no_request(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    requests = [asyncio.create_task(dispatcher.run(M, docs(20))) for _ in range(32)]
    await replicas.until(lambda: len(replicas.at("a")) == 2 and len(replicas.at("b")) == 2)
    replicas.at("a")[0].fail(ReplicaLost("killed"))  # the other call hangs: it is cancelled, nobody waits for it
    await turn()
    assert replicas.at("a") == []
    assert dispatcher.stats()["replicas"]["a"]["ejected"] == 1
    lost_at = len(replicas.seen)
    replicas.auto = Call.ok
    for call in list(replicas.calls):
        call.ok()
    async with asyncio.timeout(LONG):
        results = await asyncio.gather(*requests)
    assert all(right(result, docs(20)) for result in results)
    assert {call.route.replica_id for call in replicas.seen[lost_at:]} == {"b"}


async def test_suspects_run_alone_and_the_one_that_kills_again_gets_its_own_error(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    routes = {name: route(name) for name in "ab"}
    dispatcher.update_routes(table(*routes.values()))
    poison = WorkItem("poison" * 60)
    version = 1

    def run(call: Call) -> None:
        nonlocal version
        if poison not in call.items:
            call.ok()
            return
        call.fail(ReplicaLost("killed"))
        name = call.route.replica_id  # its next life is ready at once
        version += 1
        routes[name] = replace(routes[name], epoch=Epoch(version), uid=f"{name}@{version}")
        dispatcher.update_routes(table(*routes.values(), version=version))

    replicas.auto = run
    good = [asyncio.create_task(dispatcher.run(M, docs(3, 350))) for _ in range(12)]
    bad = asyncio.create_task(dispatcher.run(M, [*docs(2, 350), poison]))
    async with asyncio.timeout(LONG):
        results = await asyncio.gather(*good, bad, return_exceptions=True)
    assert all(isinstance(result, RunResult) and right(result, docs(3, 350)) for result in results[:-1])
    assert isinstance(results[-1], EngineError)
    assert results[-1].details["index"] == 2
    killers = [call for call in replicas.seen if poison in call.items]
    assert len(killers) == 2
    assert len(killers[1].items) == 1


async def test_a_replica_that_leaves_the_routes_is_not_waited_for(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    dispatcher.update_routes(table(version=2, starting=1))
    await turn()
    assert len(replicas.at("a")) == 1  # nowhere else to go yet: it may be draining and still answer
    dispatcher.update_routes(table(route("b"), version=3))
    await replicas.until(lambda: bool(replicas.at("b")))
    assert replicas.at("a") == []
    replicas.auto = Call.ok
    replicas.at("b")[0].ok()
    assert right(await running, docs(2))


async def test_a_draining_last_replica_still_answers(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    dispatcher.update_routes(RouteTable(Epoch(1), 2, {}))
    await turn()
    replicas.calls[0].ok()
    assert right(await running, docs(2))


async def test_an_ejected_replica_comes_back_after_a_passed_probe(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    running = asyncio.create_task(dispatcher.run(M, docs(1)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    lost = replicas.calls[0].route
    replicas.calls[0].fail(StaleEpoch("another life"))
    await replicas.until(lambda: bool(replicas.calls) and replicas.calls[0].route != lost)
    replicas.calls[0].ok()
    assert right(await running, docs(1))
    await replicas.until(lambda: bool(replicas.probes))  # a second later
    assert replicas.probes[0][0] == lost
    assert dispatcher.stats()["replicas"][lost.replica_id]["ejected"] == 1
    replicas.probes[0][1].set_result(True)
    await turn()
    assert dispatcher.stats()["replicas"][lost.replica_id]["ejected"] == 0


async def test_busy_ejects_nobody_and_loses_nothing(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    refusals = 3

    def run(call: Call) -> None:
        nonlocal refusals
        refusals -= 1
        call.fail(ReplicaBusy("full")) if refusals >= 0 else call.ok()

    replicas.auto = run
    async with asyncio.timeout(LONG):
        assert right(await dispatcher.run(M, docs(9)), docs(9))
    assert dispatcher.stats()["replicas"]["a"]["ejected"] == 0
    assert dispatcher.stats()["replicas"]["a"]["errors_total"] == 0


async def test_a_caller_that_hangs_up_drops_what_has_not_run(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(50), request_id="gone"))
    await replicas.until(lambda: len(replicas.calls) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await turn()
    assert replicas.calls == []  # cancelled, so that the replica drops what has not run
    assert zero(dispatcher)
    assert len(replicas.seen) == 2
    assert dispatcher.stats()["replicas"]["a"]["ejected"] == 0
    story = dispatcher.why("gone")
    assert story is not None
    assert story["outcome"] == "cancelled"


async def test_deadline(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    with pytest.raises(DeadlineExceeded, match="of 50 items"):
        await dispatcher.run(M, docs(50), timeout=0.01)
    for call in list(replicas.calls):
        call.ok()


async def test_engine_errors_are_tried_twice_more_elsewhere(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    broken = {"a"}
    replicas.auto = lambda call: call.fail(EngineError("bad")) if call.route.replica_id in broken else call.ok()
    for _ in range(8):
        assert right(await dispatcher.run(M, docs(2)), docs(2))
        dispatcher.update_routes(table(route("b"), version=2))  # a comes back with an empty record, and ties are open again
        dispatcher.update_routes(table(route("a"), route("b"), version=3))
    failed = [n for n, call in enumerate(replicas.seen) if call.route.replica_id == "a"]
    assert all(replicas.seen[n + 1].route.replica_id == "b" for n in failed)
    assert len(replicas.seen) == 8 + len(failed)
    broken.add("b")
    replicas.seen.clear()
    with pytest.raises(EngineError, match="bad"):
        await dispatcher.run(M, docs(1))
    assert len(replicas.seen) == 3


async def test_all_breakers_open_means_all_are_tried(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    replicas.auto = lambda call: call.fail(EngineError("bad"))
    for _ in range(2):
        with pytest.raises(EngineError):
            await dispatcher.run(M, docs(1))
    assert dispatcher.stats()["replicas"]["a"]["breaker_open"] == 1
    replicas.auto = Call.ok
    assert right(await dispatcher.run(M, docs(1), timeout=LONG), docs(1))
    assert dispatcher.stats()["replicas"]["a"]["breaker_open"] == 0


async def test_an_exception_of_another_kind_is_an_engine_error(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    replicas.auto = lambda call: call.fail(ZeroDivisionError("oops"))
    with pytest.raises(EngineError, match="ZeroDivisionError: oops"):
        await dispatcher.run(M, docs(1))


async def test_one_bad_item_fails_only_its_request_and_says_which(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    bad = WorkItem("b" * 402)

    def run(call: Call) -> None:
        rows = [row for row, item in enumerate(call.items) if item == bad]
        call.ok(errors=tuple((row, InvalidItem("cannot be read", param="documents")) for row in rows))

    replicas.auto = run
    good = [asyncio.create_task(dispatcher.run(M, docs(2))) for _ in range(12)]
    with pytest.raises(InvalidItem, match="cannot be read") as caught:
        await dispatcher.run(M, [*docs(4), bad, *docs(30)])
    assert caught.value.details["index"] == 4
    assert caught.value.param == "documents"
    assert all(right(result, docs(2)) for result in await asyncio.gather(*good))
    partial = await dispatcher.run(M, [*docs(4), bad, *docs(30)], partial=True)
    assert [(index, type(error)) for index, error in partial.errors] == [(4, InvalidItem)]
    assert np.flatnonzero(np.isnan(partial.values)).tolist() == [4]


async def test_a_shard_refused_as_a_whole_is_taken_apart(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    bad = WorkItem("b" * 402)
    replicas.auto = lambda call: call.fail(InvalidItem("unknown prompt")) if bad in call.items else call.ok()
    good = asyncio.create_task(dispatcher.run(M, docs(3)))
    with pytest.raises(InvalidItem, match="unknown prompt"):
        await dispatcher.run(M, [bad])
    assert right(await good, docs(3))


async def test_a_full_queue_refuses(replicas: FakeReplicas) -> None:
    dispatcher = Dispatcher(replicas, limits=Limits(queued_requests=2), timings=Timings())
    dispatcher.update_routes(table(starting=1))
    held = [asyncio.create_task(dispatcher.run(M, docs(1))) for _ in range(2)]
    await turn()
    with pytest.raises(TooManyRequests) as caught:
        await dispatcher.run(M, docs(1))
    assert caught.value.retry_after == 1.0
    await dispatcher.close()
    assert all(isinstance(result, Unavailable) for result in await asyncio.gather(*held, return_exceptions=True))


async def test_no_items_is_an_empty_answer(dispatcher: Dispatcher) -> None:
    dispatcher.update_routes(table(route("a")))
    result = await dispatcher.run(M, [])
    assert (result.values.shape, result.tokens) == ((0,), 0)


async def test_the_burst_of_six_hundred_is_never_refused(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    replicas.auto = Call.ok
    results = await asyncio.gather(*(dispatcher.run(M, docs(20), key=str(n % 5)) for n in range(600)))
    assert all(right(result, docs(20)) for result in results)
    stats = dispatcher.stats()
    assert stats["models"]["m"]["requests_total"] == 600
    shares = sorted(figures["documents_total"] for figures in stats["replicas"].values())
    assert shares[0] / shares[1] > 0.9
