"""The whole cluster as one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xinfer.cluster.deployment import Deployment, ScaleNote
from xinfer.cluster.floor import Floor
from xinfer.cluster.ids import Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Keys
from xinfer.cluster.replica import Replica
from xinfer.cluster.routes import Shown
from xinfer.cluster.table import ReplicaTable
from xinfer.cluster.worker import Worker


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Desired (deployments) and observed (workers, replicas) state.

    Attributes:
        epoch: of this supervisor's life.
        version: grows whenever something that routes show has changed.
        expected: workers that were known before a restart and have not rejoined; while any is left and
            ``settle_until`` has not passed, the supervisor removes nothing and starts nothing.
        draining: workers that people want empty: nothing new goes there, and what may leave moves away.
        keys: API keys, revoked ones too.
        next_epoch: the next replica or registration epoch to give out.
        ticked_at: clock of the last tick; a long gap means that the supervisor slept, not that the workers died.
        judged_at: clock of the last tick that judged all workers and replicas.
        behind: the last step left work that is due to the next tick, so that no step takes long.
        floor: worked out of workers and replicas and carried on from step to step; read it with ``floor_of``.
        shown: what routes say, likewise; read it with ``routes_of.shown_of``.
        notes: what the autoscaler says of models, for people; filled in for listings only.
    """

    epoch: Epoch = Epoch(0)
    version: int = 0
    workers: Mapping[WorkerId, Worker] = field(default_factory=dict)
    deployments: Mapping[ModelUid, Deployment] = field(default_factory=dict)
    replicas: Mapping[ReplicaId, Replica] = field(default_factory=dict)
    expected: frozenset[WorkerId] = frozenset()
    draining: frozenset[WorkerId] = frozenset()
    keys: Keys = field(default_factory=dict)
    settle_until: float = 0.0
    next_epoch: int = 1
    ticked_at: float = 0.0
    judged_at: float = 0.0
    behind: bool = False
    floor: Floor | None = field(default=None, compare=False, repr=False)
    shown: Shown | None = field(default=None, compare=False, repr=False)
    notes: Mapping[ModelUid, ScaleNote] = field(default_factory=dict)


def floor_of(snapshot: Snapshot) -> Floor:
    """The room of every worker: what the last step carried on if it speaks of these very tables, else worked out anew."""
    known = snapshot.floor
    if known is not None and known.workers is snapshot.workers and known.table is snapshot.replicas:
        return known
    return Floor.of(snapshot.workers, ReplicaTable.of(snapshot.replicas))
