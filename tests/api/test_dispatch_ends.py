"""However a request ends: it ends, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tests.api.event_replicas import LONG, Call, FakeReplicas, M, answer, docs, right, route, table, turn, zero
from xinfer.api.dispatch import Dispatcher
from xinfer.cluster.ids import Epoch, ModelUid
from xinfer.cluster.routes import RouteTable
from xinfer.errors import DeadlineExceeded, EngineError, ModelLoading, ModelNotFound, ReplicaBusy, ReplicaLost


async def test_a_replica_lost_after_the_caller_hung_up(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    running = asyncio.create_task(dispatcher.run(M, docs(1)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    lost = replicas.calls[0]
    running.cancel()
    lost.fail(ReplicaLost("gone"))
    with pytest.raises(asyncio.CancelledError):
        await running
    await turn()
    assert len(replicas.seen) == 1  # nobody wants it any more, so nobody else runs it
    assert zero(dispatcher)


async def test_what_the_others_want_of_a_shard_that_has_not_begun_goes_into_the_next(
    dispatcher: Dispatcher, replicas: FakeReplicas
) -> None:
    dispatcher.update_routes(table(route("a")))
    first = asyncio.create_task(dispatcher.run(M, docs(4)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    gone = asyncio.create_task(dispatcher.run(M, docs(3)))
    stays = asyncio.create_task(dispatcher.run(M, docs(1)))
    await replicas.until(lambda: len(replicas.calls) == 2)
    assert len(replicas.calls[1].items) == 4
    gone.cancel()
    await replicas.until(lambda: len(replicas.seen) == 3)
    assert [len(call.items) for call in replicas.calls] == [4, 1]  # what runs is left alone
    for call in list(replicas.calls):
        call.ok()
    assert right(await first, docs(4))
    assert right(await stays, docs(1))
    assert zero(dispatcher)


async def test_an_answer_after_new_routes_counts_if_the_replica_is_the_same(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    dispatcher.update_routes(table(replace(route("a"), speed=99.0), route("b"), version=2))
    replicas.calls[0].ok()
    assert right(await running, docs(2))
    assert len(replicas.seen) == 1


async def test_an_answer_of_a_life_that_has_ended_is_not_delivered_twice(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    first = replicas.calls[0]
    replicas.auto = Call.ok
    dispatcher.update_routes(table(route("a", epoch=2), version=2))  # its items are queued again
    first.ok()
    assert right(await running, docs(2))
    assert dispatcher.stats()["models"]["m"]["documents_total"] == 2


async def test_a_deadline_while_the_only_replica_hangs(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    with pytest.raises(DeadlineExceeded, match="2 of 2 items"):
        await dispatcher.run(M, docs(2), timeout=0.01)
    replicas.calls[0].ok()
    await turn()
    replicas.auto = Call.ok
    assert right(await dispatcher.run(M, docs(2)), docs(2))


async def test_a_replica_that_is_always_busy_keeps_work_until_its_deadline(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    replicas.auto = lambda call: call.fail(ReplicaBusy("full"))
    with pytest.raises(DeadlineExceeded):
        await dispatcher.run(M, docs(2), timeout=0.3)
    assert 2 < len(replicas.seen) < 20  # asked again now and then, not in a busy loop


async def test_a_stop_ends_what_waits_and_lets_what_runs_finish(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    runs = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    waits = [asyncio.create_task(dispatcher.run(M, docs(40))) for _ in range(3)]
    await replicas.until(lambda: len(replicas.calls) == 2)
    dispatcher.update_routes(RouteTable(Epoch(1), 2, {}))
    async with asyncio.timeout(LONG):
        ended = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(error, ModelNotFound) for error in ended)
    assert not runs.done()
    for call in list(replicas.calls):
        call.ok()
    assert right(await runs, docs(2))
    await turn()
    assert dispatcher.stats()["models"] == {}


async def test_a_replica_that_dies_while_its_model_is_stopped(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    runs = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    dispatcher.update_routes(RouteTable(Epoch(1), 2, {}))
    replicas.calls[0].fail(ReplicaLost("killed"))
    with pytest.raises(ModelNotFound, match="stopped"):
        await runs
    await turn()
    assert dispatcher.stats()["models"] == {}


async def test_all_replicas_gone_then_back(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a"), route("b")))
    running = [asyncio.create_task(dispatcher.run(M, docs(5))) for _ in range(4)]
    await replicas.until(lambda: bool(replicas.at("a")) and bool(replicas.at("b")))
    for call in list(replicas.calls):
        if not call.outcome.done():
            call.fail(ReplicaLost("power cut"))
    dispatcher.update_routes(table(version=2, starting=2))
    await turn()
    replicas.auto = Call.ok
    dispatcher.update_routes(table(route("a", epoch=2), version=3, starting=1))
    async with asyncio.timeout(LONG):
        assert all(right(result, docs(5)) for result in await asyncio.gather(*running))


async def test_all_replicas_gone_and_none_back(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    running = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    replicas.calls[0].fail(ReplicaLost("power cut"))
    async with asyncio.timeout(LONG):
        with pytest.raises(ModelLoading, match="became ready within"):
            await running  # still in the routes, but its probe is never answered
    for _, asked in replicas.probes:
        asked.set_result(False)


@pytest.mark.parametrize("wrong", ["values", "tokens", "truncated", "width"])
async def test_an_answer_of_the_wrong_form_is_an_error_not_a_hang(dispatcher: Dispatcher, replicas: FakeReplicas, wrong: str) -> None:
    dispatcher.update_routes(table(route("a")))
    good = 1 if wrong == "width" else 0

    def run(call: Call) -> None:
        nonlocal good
        result = answer(call.items, dim=3)
        if good:
            good -= 1
        elif wrong == "width":
            result = replace(result, values=np.zeros((len(call.items), 4), dtype=np.float32))
        else:
            result = replace(result, **{wrong: getattr(result, wrong)[:-1]})
        call.outcome.set_result(result)

    replicas.auto = run
    async with asyncio.timeout(LONG):
        with pytest.raises(EngineError, match="shape" if wrong == "width" else "answered"):
            await dispatcher.run(M, docs(12, 400))
    for call in list(replicas.calls):
        call.ok()


async def test_an_answer_in_the_turn_of_the_deadline_is_an_answer(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    loop = asyncio.get_running_loop()
    dispatcher.update_routes(table(route("a")))
    due = loop.time() + 0.05

    def run(call: Call) -> None:
        call.ok()
        while loop.time() < due + 0.01:  # the loop finds the reply and the time-out in its next turn, in this order
            pass

    replicas.auto = run
    assert right(await dispatcher.run(M, docs(2), timeout=0.05), docs(2))


async def test_models_that_were_stopped_leave_nothing(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    replicas.auto = Call.ok
    for number in range(50):
        uid = ModelUid(f"m{number}")
        routes = replace(table(route("a")).models[M], model_uid=uid)
        dispatcher.update_routes(RouteTable(Epoch(1), number, {uid: routes}))
        assert right(await dispatcher.run(uid, docs(2), request_id=str(number)), docs(2))
    await turn()
    assert set(dispatcher.stats()["models"]) == {"m49"}


async def test_while_the_last_replica_drains_new_work_is_refused_at_once(dispatcher: Dispatcher, replicas: FakeReplicas) -> None:
    dispatcher.update_routes(table(route("a")))
    runs = asyncio.create_task(dispatcher.run(M, docs(2)))
    await replicas.until(lambda: len(replicas.calls) == 1)
    dispatcher.update_routes(table(version=2))  # the deployment is still there, without anything that starts
    with pytest.raises(ModelNotFound, match="being stopped"):
        await dispatcher.run(M, docs(2))
    replicas.calls[0].ok()
    assert right(await runs, docs(2))
