"""Entry of the control process: the only one that opens the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog
import xoscar as xo

from xinfer import settings as config
from xinfer.actors.messages import SUPERVISOR_UID
from xinfer.actors.pool import open_pool
from xinfer.actors.supervisor import SupervisorActor
from xinfer.actors.survey import Survey
from xinfer.catalog.families import load_builtin
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.restore import restore
from xinfer.errors import ConfigError, StoreError
from xinfer.processes import runtime
from xinfer.processes.token import is_loopback
from xinfer.settings import ServerSettings
from xinfer.store.store import Store

log = structlog.get_logger(__name__)

FIRST_KEY = "xinfer key create NAME --admin"


def main(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """Serve until told to stop."""
    settings = config.load(ServerSettings, payload["settings"])

    async def serve(stop: asyncio.Event) -> None:
        store, snapshot = begin_with(settings)
        pool, address = await open_pool(settings.control_host, None, payload.get("port") or settings.control_port, "--supervisor-port")
        actor = await xo.create_actor(
            SupervisorActor,
            store,
            snapshot,
            load_builtin(),
            Survey(),
            settings.timings,
            settings.model_roots,
            address=address,
            uid=SUPERVISOR_UID,
        )
        await actor.begin()
        if not snapshot.keys and not is_loopback(settings.host):
            log.warning("no API key: whoever reaches the REST port may use this server", host=settings.host, next=FIRST_KEY)
        announce({"address": address})
        await stop.wait()
        await actor.close()
        await pool.stop()

    return runtime.run(serve, settings.log_level)


def begin_with(settings: ServerSettings) -> tuple[Store, Snapshot]:
    """The open store, and the snapshot that follows from it.

    Raises:
        ConfigError: another supervisor has it, or it cannot be used; trying again would not help.
    """
    try:
        store = Store.open(settings.home.store)
        stored = store.load()
        epoch, now = store.next_epoch(), time.time()
        return store, restore(stored.deployments, stored.workers, epoch, now, settings.timings, stored.draining, stored.keys)
    except StoreError as error:
        raise ConfigError(error.message, param="--home") from error
