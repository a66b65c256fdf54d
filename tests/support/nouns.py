"""Small clusters as values, for tests of the pure rooms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xinfer.catalog.spec import LocalSource, ModelSpec, ModelType
from xinfer.cluster.deployment import Demand, Deployment
from xinfer.cluster.device import Device, DeviceKind
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.replica import Phase, Replica
from xinfer.cluster.slot import Slot
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker, WorkerState

GIB = 1 << 30


def spec(engine: str = "st", **fields: Any) -> ModelSpec:
    """A reranker in a local folder."""
    return ModelSpec(name="tiny", type=ModelType.RERANK, engine=engine, sources=(LocalSource(path="/models/tiny"),), **fields)


def worker(
    name: str = "a",
    gpus: int = 4,
    *,
    gib: float = 24,
    address: str | None = None,
    free: Mapping[int, int] | None = None,
    state: WorkerState = WorkerState.ALIVE,
    engines: Iterable[str] = ("st",),
    kind: DeviceKind = DeviceKind.SIMULATED,
    domain: str | None = None,
    host: str = "",
) -> Worker:
    """Devices ``NAME-0`` … of equal size; ``free`` by index; ``domain`` makes them share one memory."""
    devices = tuple(Device(DeviceUuid(f"{name}-{i}"), kind, i, "Sim 24", int(gib * GIB), domain or f"{name}-{i}") for i in range(gpus))
    return Worker(
        id=WorkerId(name),
        address=Address(address or f"10.0.0.{ord(name[0]) - 96}:24002"),
        epoch=Epoch(1),
        devices=devices,
        engines=frozenset(engines),
        free_bytes={devices[i].uuid: size for i, size in (free or {}).items()},
        state=state,
        host=host,
    )


def slot(name: str, *indices: int) -> Slot:
    """Devices of ``worker(name)``."""
    return Slot(WorkerId(name), tuple(DeviceUuid(f"{name}-{i}") for i in indices))


def replica(model: str, ordinal: int = 0, where: Slot | None = None, size: int = GIB, **fields: Any) -> Replica:
    """A loaded READY replica unless fields say otherwise."""
    given: dict[str, Any] = {"phase": Phase.READY, "loaded": True, "address": Address(f"10.0.0.1:{30000 + ordinal}")} | fields
    return Replica(
        id=ReplicaId(f"{model}-{ordinal}"),
        model_uid=ModelUid(model),
        ordinal=ordinal,
        epoch=Epoch(1),
        slot=where,
        reserved_bytes=size,
        **given,
    )


def deployment(uid: str = "m", demands: Iterable[Demand] = (), *, of: ModelSpec | None = None, first: int = 0) -> Deployment:
    """Ordinals count from ``first``."""
    every = tuple(demands)
    ordinals = tuple(range(first, first + len(every)))
    return Deployment(ModelUid(uid), of or spec(), every, ordinals, created_at=1.0, next_ordinal=first + len(every))


def snapshot(workers: Iterable[Worker] = (), replicas: Iterable[Replica] = (), deployments: Iterable[Deployment] = ()) -> Snapshot:
    """One value of the three."""
    return Snapshot(
        epoch=Epoch(3),
        version=7,
        workers={w.id: w for w in workers},
        deployments={d.uid: d for d in deployments},
        replicas={r.id: r for r in replicas},
    )
