"""Entry of a replica's process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xoscar as xo
from pydantic import TypeAdapter

from xinfer.actors.messages import replica_uid
from xinfer.actors.pool import open_pool
from xinfer.actors.replica import ReplicaActor
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.replica import Assignment
from xinfer.processes import runtime

ASSIGNMENT = TypeAdapter(Assignment)


def payload(
    assignment: Assignment, host: str, port_range: tuple[int, int] | None, threads: int, cache: Path, log_level: str
) -> dict[str, Any]:
    """What ``main`` needs, as JSON."""
    return {
        "assignment": ASSIGNMENT.dump_python(assignment, mode="json"),
        "host": host,
        "port_range": port_range,
        "threads": threads,
        "cache": str(cache),
        "log_level": log_level,
    }


def main(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """Serve one replica until told to stop."""
    assignment = ASSIGNMENT.validate_python(payload["assignment"])
    kind = DeviceKind(os.environ["XINFER_DEVICE_KIND"])

    async def serve(stop: asyncio.Event) -> None:
        pool, address = await open_pool(payload["host"], payload["port_range"])
        replica = assignment.replica
        uid = replica_uid(replica.id, replica.epoch)
        await xo.create_actor(ReplicaActor, assignment, kind, payload["threads"], payload["cache"], address=address, uid=uid)
        announce({"address": address})
        await stop.wait()
        await pool.stop()

    return runtime.run(serve, payload["log_level"])
