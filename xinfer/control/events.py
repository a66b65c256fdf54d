"""What can happen to a cluster. Everything that changes the snapshot arrives as one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xinfer.catalog.spec import Dtype
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.deployment import Demand, Deployment, Scaling
from xinfer.cluster.device import DeviceReport
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.replica import Phase, Progress, Replica
from xinfer.cluster.worker import Worker
from xinfer.placement.rebalance import Relocation


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker registers, or comes back.

    Attributes:
        worker: its ``epoch``, ``state`` and ``last_seen`` are not read; the registration's epoch is given by ``step``.
        running: every replica it holds, starting ones too, known by (id, epoch).
        begun: the largest epoch that it ever began: it refuses those again, and after a lost state file they would come again.
    """

    worker: Worker
    running: tuple[Replica, ...] = ()
    begun: Epoch = Epoch(0)


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """A heartbeat. News that came with it is stepped before it, so that it finds nothing missing that was just told as ended.

    Attributes:
        epoch: of the registration; news of another one is ignored (see ``liveness.must_rejoin``).
        free_bytes: observed free memory by device.
        running: (replica, epoch) of every replica process, starting ones too; None = not said.
    """

    worker_id: WorkerId
    epoch: Epoch
    free_bytes: Mapping[DeviceUuid, int] = field(default_factory=dict)
    running: tuple[tuple[ReplicaId, Epoch], ...] | None = None


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker left: it said goodbye, or its process is known to be dead (its replicas died with it)."""

    worker_id: WorkerId
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class WorkerHungUp:
    """The link to a worker broke: its process has died, or the network has hiccuped and the next heartbeat says so."""

    worker_id: WorkerId
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class LaunchRequested:
    """A new deployment, all replicas or none."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A deployment is no longer wanted.

    Attributes:
        drain: what was accepted before is served, for ``Timings.drain`` at most; otherwise it ends at once, also if it drains already.
    """

    model_uid: ModelUid
    drain: bool = True


@dataclass(frozen=True, slots=True)
class QueuesEmpty:
    """No API process holds work of a deployment that is being stopped."""

    model_uid: ModelUid


@dataclass(frozen=True, slots=True)
class ScalingSet:
    """Other bounds for the autoscaler; what is missing is added, all or none, what is too many let go.

    Attributes:
        scaling: None = from now on as many as people say.
        replicas: to have now, within the bounds; ``demands``: of those to add for that.
    """

    model_uid: ModelUid
    scaling: Scaling | None
    replicas: int
    demands: tuple[Demand, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicasAdded:
    """More replicas of a deployment, all or none."""

    model_uid: ModelUid
    demands: tuple[Demand, ...]


@dataclass(frozen=True, slots=True)
class ReplicaRemoved:
    """One replica is no longer wanted; removing the last one stops the deployment."""

    model_uid: ModelUid
    replica_id: ReplicaId


@dataclass(frozen=True, slots=True)
class ScaledDown:
    """No more than so many replicas of a deployment are wanted; none = it sleeps, if it may.

    Attributes:
        by_load: nobody asked for it, so those that people pinned stay.
    """

    model_uid: ModelUid
    replicas: int
    by_load: bool = False


@dataclass(frozen=True, slots=True)
class MoveRequested:
    """One replica is wanted elsewhere: another is started as ``demand`` says, and takes its place once it is ready."""

    model_uid: ModelUid
    replica_id: ReplicaId
    demand: Demand


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """A worker is wanted empty; with ``undo``, it may be used again."""

    worker_id: WorkerId
    undo: bool = False


@dataclass(frozen=True, slots=True)
class RebalanceRequested:
    """Replicas are wanted elsewhere, all of them or none, as ``placement.rebalance`` planned it on this snapshot or an earlier one."""

    moves: tuple[Relocation, ...]


@dataclass(frozen=True, slots=True)
class KeyMade:
    """An API key is to be valid from now on."""

    key: Key


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """An API key, by name or id, is not to be taken any more."""

    name: str


@dataclass(frozen=True, slots=True)
class ReplicaProgressed:
    """A start has come further."""

    replica_id: ReplicaId
    epoch: Epoch
    phase: Phase
    progress: Progress
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaReady:
    """A replica can take work.

    Attributes:
        reports: what the process sees of its devices; other devices than the slot's fail the launch.
        reserved_bytes: per device, what it needs from now on and at a restart: the measured figure with its headroom; 0 = unknown.
        speed: tokens/s at the budget; 0 = unknown.
        budget_tokens: padded tokens a batch may hold; 0 = unknown.
        dtype: in which it runs, chosen by itself if that was open; None = the deployment's. ``dtype_why``: how it was chosen.
        calibration: what it measured, or confirmed.
        capacity: of a language model.
    """

    replica_id: ReplicaId
    epoch: Epoch
    address: Address
    pid: int | None = None
    reports: tuple[DeviceReport, ...] = ()
    reserved_bytes: int = 0
    speed: float = 0.0
    budget_tokens: int = 0
    dtype: Dtype | None = None
    dtype_why: str = ""
    calibration: StoredCalibration | None = None
    capacity: Capacity | None = None


@dataclass(frozen=True, slots=True)
class ReplicaEnded:
    """A replica's process is gone, for whatever reason; also the answer to a stop of an unknown one.

    Attributes:
        code: exit code of the process, negative for a signal.
        error: one sentence; "" for a clean end.
        error_code: of the error (``out_of_memory``, ``device_mismatch``, …).
        fatal: starting it again cannot help (bad files, wrong device): it becomes FAILED at once.
        worker_id: who says so; None where that is plain.
    """

    replica_id: ReplicaId
    epoch: Epoch
    code: int = 0
    error: str = ""
    error_code: str = ""
    stderr_tail: str = ""
    fatal: bool = False
    worker_id: WorkerId | None = None


@dataclass(frozen=True, slots=True)
class ReplicaRefused:
    """The worker did not begin the start: its own ledger says no (SlotTaken), or it could not be reached."""

    replica_id: ReplicaId
    epoch: Epoch
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; send one a second. It marks lost workers, ends settling and starts what is due."""

    now: float


Event = (
    WorkerJoined
    | WorkerBeat
    | WorkerGone
    | WorkerHungUp
    | LaunchRequested
    | StopRequested
    | QueuesEmpty
    | ScalingSet
    | ReplicasAdded
    | ReplicaRemoved
    | ScaledDown
    | MoveRequested
    | DrainRequested
    | RebalanceRequested
    | KeyMade
    | KeyRevoked
    | ReplicaProgressed
    | ReplicaReady
    | ReplicaEnded
    | ReplicaRefused
    | Tick
)
