"""Entry of a replica's process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xoscar as xo
from pydantic import TypeAdapter

from xinfer.actors.messages import replica_uid
from xinfer.actors.pool import open_pool
from xinfer.actors.replica import ReplicaActor
from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.replica import Assignment
from xinfer.processes import runtime
from xinfer.processes.spawn import ProcessSpec
from xinfer.settings import WorkerSettings

ASSIGNMENT = TypeAdapter(Assignment)
TARGET = "xinfer.actors.replica_main:main"


def process_spec(
    assignment: Assignment, devices: Sequence[Device], environment: Mapping[str, str], settings: WorkerSettings, token: str, stderr: Path
) -> ProcessSpec:
    """How the process is started; ``environment``: what binds it to the devices."""
    return ProcessSpec(
        target=TARGET,
        name=f"replica {assignment.replica.id}",
        payload={
            "assignment": ASSIGNMENT.dump_python(assignment, mode="json"),
            "host": settings.host,
            "port_range": settings.port_range,
            "threads": int(environment["OMP_NUM_THREADS"]),
            "cache": str(settings.home.model_cache),
            "log_level": settings.log_level,
        },
        env={**environment, "XOSCAR_AUTH_KEY": token, "XINFER_HOME": str(settings.home.root), "XINFER_PROCESS": TARGET},
        cores=cores_of(devices),
        stderr=stderr,
        needs_torch=True,
    )


def cores_of(devices: Sequence[Device]) -> tuple[int, ...]:
    """The CPUs that go with the devices, each once."""
    return tuple(sorted({core for device in devices for core in device.cores}))


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
