"""What a step asks the shell to do. Each may be lost or repeated without harm: beats and ticks find out and ask again."""

from __future__ import annotations

from dataclasses import dataclass

from xinfer.cluster.ids import Epoch, ReplicaId, WorkerId
from xinfer.cluster.replica import Assignment


@dataclass(frozen=True, slots=True)
class StartReplica:
    """Ask a worker to begin one life of a replica.

    A ``SlotTaken`` or a refused connection comes back as the event ReplicaRefused; a call that timed out comes back as nothing.
    """

    worker_id: WorkerId
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class StopReplica:
    """Ask a worker to end one life of a replica; the answer is ReplicaEnded, also when it is not there.

    Attributes:
        drain_seconds: finish what it holds for so long; 0 = abort the start or end it now.
    """

    worker_id: WorkerId
    replica_id: ReplicaId
    epoch: Epoch
    drain_seconds: float = 0.0


Effect = StartReplica | StopReplica
