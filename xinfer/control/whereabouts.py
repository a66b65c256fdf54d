"""Where to look for what a replica wrote: it may run, wait, have failed, or be long gone with its model."""

from __future__ import annotations

from dataclasses import dataclass

from xinfer.cluster.ids import ModelUid, ReplicaId
from xinfer.cluster.replica import Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.control.lifecycle import no_such_replica, replica_id
from xinfer.errors import ModelNotFound, XinferError

_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Of one replica.

    Attributes:
        id: its full id.
        replica: None if there is none of that id now.
        workers: where its files can be, the likeliest first.
    """

    id: ReplicaId
    replica: Replica | None
    workers: tuple[Worker, ...]


def whereabouts(snapshot: Snapshot, model_uid: ModelUid, name: str) -> Whereabouts:
    """Of a replica by number or full id, also of one that is gone.

    Raises:
        ModelNotFound, ReplicaNotFound: no replica can have that name.
    """
    number = name.removeprefix(f"{model_uid}-")
    if not (number.isascii() and number.isdecimal() and len(number) <= _DIGITS):
        raise unknown(snapshot, model_uid, name)
    wanted = replica_id(model_uid, int(number))
    replica = snapshot.replicas.get(wanted)
    if replica is None or replica.model_uid != model_uid:
        return Whereabouts(wanted, None, tuple(snapshot.workers.values()))
    places = [slot.worker_id for slot in (replica.slot, *reversed(replica.avoid)) if slot is not None]
    # One that waits since this supervisor started may have been anywhere.
    workers = [snapshot.workers[each] for each in dict.fromkeys(places or snapshot.workers) if each in snapshot.workers]
    return Whereabouts(wanted, replica, tuple(workers))


def unknown(snapshot: Snapshot, model_uid: ModelUid, name: str) -> XinferError:
    """The error for a replica of which there is no trace."""
    deployment = snapshot.deployments.get(model_uid)
    if deployment is None:
        return ModelNotFound(
            f"No model {model_uid[:160]!r} is running, and nothing that a replica {name[:160]!r} of it wrote is kept.", param="model_uid"
        )
    return no_such_replica(deployment, name[:160])
