"""What workers, replicas and the supervisor say to each other. Values only; pickled by the transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xinfer.catalog.spec import Dtype
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.deployment import Deployment, Scaling
from xinfer.cluster.device import DeviceReport
from xinfer.cluster.ids import Address, DeviceUuid, Epoch, ReplicaId, WorkerId
from xinfer.cluster.reading import Reading
from xinfer.cluster.replica import Phase, Progress, Replica
from xinfer.cluster.snapshot import Snapshot
from xinfer.cluster.worker import Worker
from xinfer.control.lifecycle import replica_id
from xinfer.errors import UpgradeRefused
from xinfer.serving.histogram import Distribution

SUPERVISOR_UID = "supervisor"
WORKER_UID = "worker"
API_UID = "api"


def replica_uid(replica_id: ReplicaId, epoch: Epoch) -> str:
    """Actor uid of one life of a replica."""
    return f"{replica_id}@{epoch}"


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker introduces itself, or comes back with what it runs.

    Attributes:
        worker: its epoch is ignored; the supervisor gives a new one.
        running: every replica it holds, starting ones too.
        begun: the largest epoch of a replica that it ever began; 0 = none.
    """

    worker: Worker
    running: tuple[Replica, ...] = ()
    begun: Epoch = Epoch(0)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The supervisor's answer to Hello."""

    epoch: Epoch
    supervisor_epoch: Epoch
    heartbeat: float


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat: observed memory and who is here.

    Attributes:
        running: (replica, epoch) of every replica process, starting ones too.
        reading: the newest one, if the last heartbeat did not bring it.
    """

    worker_id: WorkerId
    epoch: Epoch
    free_bytes: Mapping[DeviceUuid, int] = field(default_factory=dict)
    running: tuple[tuple[ReplicaId, Epoch], ...] = ()
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Scaled:
    """What a change of a deployment came to.

    Attributes:
        replicas: wanted now; ``scaling``: between which the load decides, None = as people say.
    """

    replicas: int
    added: tuple[ReplicaId, ...] = ()
    removed: tuple[ReplicaId, ...] = ()
    scaling: Scaling | None = None

    @classmethod
    def between(cls, before: Deployment, after: Deployment) -> Scaled:
        """The difference of two states of one deployment."""
        added = tuple(replica_id(after.uid, ordinal) for ordinal in after.ordinals if ordinal not in before.ordinals)
        removed = tuple(replica_id(before.uid, ordinal) for ordinal in before.ordinals if ordinal not in after.ordinals)
        return cls(after.wanted, added, removed, after.scaling)


@dataclass(frozen=True, slots=True)
class Drained:
    """How far a worker is from being empty.

    Attributes:
        leaving: replicas that move away or end; ``staying``: those that are pinned there, or bound to this worker by name.
        reasons: why some of ``leaving`` cannot leave now.
    """

    worker_id: WorkerId
    address: Address
    draining: bool
    leaving: tuple[ReplicaId, ...] = ()
    staying: tuple[ReplicaId, ...] = ()
    reasons: Mapping[ReplicaId, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A worker that has taken up new code.

    Attributes:
        kept: replicas whose processes went on; ``restarted``: those that ended with the upgrade, and are started again.
    """

    worker_id: WorkerId
    address: Address
    version_before: str
    version: str
    kept: tuple[ReplicaId, ...] = ()
    restarted: tuple[ReplicaId, ...] = ()

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot, worker_id: WorkerId) -> Upgraded:
        """What became of the worker and of the processes that ran there.

        Raises:
            UpgradeRefused: it is the same code as before.
        """
        old, new = before.workers[worker_id], after.workers[worker_id]
        if new.started_at == old.started_at:
            raise UpgradeRefused(f"Worker {new.address} could not become the new code and goes on with the old; its log says why.")
        ran = {each.id: each.pid for each in before.replicas.values() if each.slot and each.slot.worker_id == worker_id and each.pid}
        runs = {each: after.replicas[each].pid for each in ran if each in after.replicas}
        kept = tuple(each for each, pid in runs.items() if pid == ran[each])
        return cls(worker_id, new.address, old.version, new.version, kept, tuple(each for each in runs if each not in kept))


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a replica process has come with its start."""

    phase: Phase
    progress: Progress


@dataclass(frozen=True, slots=True)
class Loaded:
    """A replica is ready: the proof of its placement and what was measured.

    Attributes:
        speed: tokens/s at the budget.
        budget_tokens: padded tokens per batch.
        dtype: in which it runs; ``dtype_why``: how it was chosen, "" where nothing was open.
        calibration: what was measured, or confirmed.
        capacity: of a language model; ``budget_tokens`` is its KV room.
    """

    reports: tuple[DeviceReport, ...]
    speed: float
    budget_tokens: int
    dtype: Dtype | None = None
    dtype_why: str = ""
    calibration: StoredCalibration | None = None
    capacity: Capacity | None = None


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a language model has generated since it became ready.

    Attributes:
        answers: that ended; ``cancelled``: of these, before their end.
        prompt_tokens, cached_tokens: of prompts, and of these in the KV cache already; ``tokens``: generated.
        active: answers now; ``held_tokens``: KV room that they hold, of ``kv_tokens``.
    """

    answers: int
    cancelled: int
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    active: int
    held_tokens: int
    kv_tokens: int


@dataclass(frozen=True, slots=True)
class ReplicaStats:
    """Figures of one replica since it became ready.

    Attributes:
        items: documents or texts answered.
        tokens, padded_tokens: true tokens of those, and what their batches held.
        busy_seconds: wall time inside the model.
        queued_items, queued_tokens: waiting or running now.
        batches, oom_splits: counts.
        slowdown: measured ÷ predicted batch time; 1.0 = as calibrated.
        histograms: of waits, batches and padding, by the name that metrics give them.
        generation: of a language model, whose ``items`` are answers and ``batches`` steps.
    """

    replica_id: ReplicaId
    epoch: Epoch
    items: int = 0
    tokens: int = 0
    busy_seconds: float = 0.0
    queued_items: int = 0
    queued_tokens: int = 0
    batches: int = 0
    oom_splits: int = 0
    budget_tokens: int = 0
    padded_tokens: int = 0
    slowdown: float = 1.0
    histograms: Mapping[str, Distribution] = field(default_factory=dict)
    generation: GenerationStats | None = None


@dataclass(frozen=True, slots=True)
class Stock:
    """Which model files a worker has, or could get.

    Attributes:
        cached: keys (``catalog.uri.cache_key``) of the models whose files are all there.
        hub_in_reach: some model hub answers it.
    """

    cached: frozenset[str]
    hub_in_reach: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A part of what a replica's processes wrote on one worker; ``position``, in bytes, is where the next part begins.

    Attributes:
        worker_id: "" for the few lines that the supervisor kept of a replica that failed on a worker it cannot ask.
    """

    replica_id: ReplicaId
    worker_id: str
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class WorkerUsage:
    """Live figures of a worker's devices."""

    worker_id: WorkerId
    address: Address
    free_bytes: Mapping[DeviceUuid, int]
    utilization: Mapping[DeviceUuid, float]
