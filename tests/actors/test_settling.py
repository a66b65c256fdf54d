"""A supervisor that starts again waits for its workers, and so does what is asked of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import xoscar as xo

from tests.actors.conftest import QUICK
from xinfer.actors.messages import SUPERVISOR_UID
from xinfer.actors.pool import open_pool
from xinfer.actors.refs import SupervisorRef
from xinfer.actors.supervisor import SupervisorActor
from xinfer.actors.survey import Survey
from xinfer.catalog.families import load_builtin
from xinfer.cluster.ids import Epoch, WorkerId
from xinfer.control.restore import restore
from xinfer.errors import NoWorker
from xinfer.schemas.launch import LaunchRequest
from xinfer.store.store import Store


@pytest.fixture
async def settling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SupervisorRef]:
    """One worker is expected back, and does not come."""
    monkeypatch.setenv("XOSCAR_AUTH_KEY", "a token for tests of actors, long enough")
    store = Store.open(tmp_path / "state.sqlite3")
    snapshot = restore((), {WorkerId("away")}, store.next_epoch(), time.time(), QUICK)
    pool, address = await open_pool("127.0.0.1", None)
    actor = await xo.create_actor(SupervisorActor, store, snapshot, load_builtin(), Survey(), QUICK, address=address, uid=SUPERVISOR_UID)
    await actor.begin()
    yield SupervisorRef(address)
    await actor.close()
    await pool.stop()


async def test_a_launch_waits_until_the_supervisor_has_settled(settling: SupervisorRef) -> None:
    launch = asyncio.create_task(settling.launch(LaunchRequest(model_path="/m", model_type="rerank", model_uid="ce")))
    assert (await settling.snapshot()).expected
    await asyncio.sleep(QUICK.settle / 2)
    assert not launch.done()
    with pytest.raises(NoWorker, match="No worker has joined"):
        await launch
    assert not (await settling.snapshot()).expected


async def test_routes_come_when_the_supervisor_has_settled_and_not_before(settling: SupervisorRef) -> None:
    early = await settling.routes(Epoch(7_777), 3, QUICK.settle / 5)
    assert (await settling.snapshot()).expected
    assert early is None, "an API process would have given up the replicas that its last table names"
    table = await settling.routes(Epoch(7_777), 3, 10 * QUICK.settle)
    assert table is not None
    assert table.version >= 0
    assert not (await settling.snapshot()).expected


async def test_an_api_process_that_knows_nothing_is_told_the_keys_at_once_and_the_routes_later(settling: SupervisorRef) -> None:
    keys = await settling.routes(Epoch(0), -1, 10 * QUICK.settle)
    assert (await settling.snapshot()).expected
    assert keys is not None
    assert (keys.version, keys.knows_keys) == (-1, True)
    assert await settling.routes(keys.epoch, keys.version, QUICK.settle / 5) is None
    table = await settling.routes(keys.epoch, keys.version, 10 * QUICK.settle)
    assert table is not None
    assert table.version >= 0
