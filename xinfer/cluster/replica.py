"""Replicas: one loaded model in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from xinfer.catalog.spec import Dtype, ModelSpec
from xinfer.cluster.calibration import StoredCalibration
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.device import DeviceReport
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.slot import Slot


class Phase(StrEnum):
    """Where a replica is in its life; legal moves are a table in ``control.lifecycle``."""

    QUEUED = "queued"  # desired, no slot yet (or waiting for its worker)
    INSTALLING = "installing_packages"  # its environment is built or found
    SPAWNING = "spawning"
    FETCHING = "fetching"
    LOADING = "loading"
    WARMING = "warming_up"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"  # ended badly, restarts at ``retry_at``
    FAILED = "failed"  # gave up; a person must act
    STOPPED = "stopped"


STARTING = frozenset({Phase.INSTALLING, Phase.SPAWNING, Phase.FETCHING, Phase.LOADING, Phase.WARMING})
HOLDS_SLOT = STARTING | {Phase.READY, Phase.DRAINING, Phase.STOPPING}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a start has come.

    Attributes:
        stage: the phase's value.
        fraction: 0..1 within the whole start.
        files: downloads as (name, bytes done, bytes total or 0).
        since: supervisor clock at which the stage began.
    """

    stage: str = Phase.QUEUED.value
    fraction: float = 0.0
    files: tuple[tuple[str, int, int], ...] = ()
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as the supervisor knows it.

    Attributes:
        id: place in the deployment.
        epoch: of this life; the actor's uid is ``id@epoch``.
        slot: where it is bound; None while FAILED, and while QUEUED unless its place is kept until its turn comes.
        reserved_bytes: charged on each device of the slot.
        address: of its actor; one that is QUEUED because its worker is lost keeps it, as it may serve on unseen.
        loaded: True once the reservation is the measured figure.
        reports: what the process itself says of its devices.
        crashes: unix times of recent crashes, oldest first.
        retry_at: clock at which BACKOFF ends.
        stderr_tail: last lines of the dead process.
    """

    id: ReplicaId
    model_uid: ModelUid
    ordinal: int
    epoch: Epoch
    phase: Phase = Phase.QUEUED
    slot: Slot | None = None
    reserved_bytes: int = 0
    loaded: bool = False
    address: Address | None = None
    pid: int | None = None
    reports: tuple[DeviceReport, ...] = ()
    progress: Progress = Progress()
    restarts: int = 0
    crashes: tuple[float, ...] = ()
    retry_at: float = 0.0
    error: str = ""
    error_code: str = ""
    stderr_tail: str = ""
    created_at: float = 0.0
    ready_at: float = 0.0
    avoid: tuple[Slot, ...] = ()
    speed: float = 0.0
    """Calibrated tokens/s; 0 while unknown."""
    budget_tokens: int = 0
    """Padded tokens a batch may hold; 0 while unknown."""
    capacity: Capacity | None = None
    """Of a language model; None while unknown."""
    dtype: Dtype | None = None
    """In which this life runs; None while it has still to choose."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a worker needs to start one replica; sent with the StartReplica effect.

    Attributes:
        dtype_open: choose among these and say which; empty = run in the spec's.
        calibration: what an equal replica measured on such a device; to be confirmed, not measured anew.
    """

    replica: Replica
    spec: ModelSpec
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype_open: tuple[Dtype, ...] = ()
    calibration: StoredCalibration | None = None
