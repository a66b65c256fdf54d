"""A deployment: what the user asked for and what was decided once at launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xinfer.catalog.spec import Dtype, ModelSpec
from xinfer.cluster.ids import ModelUid
from xinfer.cluster.slot import Slot


@dataclass(frozen=True, slots=True)
class Demand:
    """What one replica needs while it waits for a slot.

    Attributes:
        bytes_per_device: memory to reserve on each of its devices: estimate, or the measured figure once there is one.
        n_devices: devices per replica.
        pin: the explicit slot, or None for automatic placement.
        worker_id: restrict automatic placement to one worker, or None.
        fixed_bytes: ``bytes_per_device`` was asked for by name and no measurement replaces it.
        alike: its devices must be of one kind, known by their name.
    """

    bytes_per_device: int
    n_devices: int = 1
    pin: Slot | None = None
    worker_id: str | None = None
    fixed_bytes: bool = False
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Scaling:
    """Between how many replicas the load decides.

    Attributes:
        min_replica: 0 = the model sleeps when it is idle.
        idle_seconds: without a request until then.
    """

    min_replica: int
    max_replica: int
    idle_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class ScaleNote:
    """What the autoscaler thinks of one model; in memory only.

    Attributes:
        wanted: replicas that the load asks for, room or not.
        load: of late, in replicas' windows.
        why: the last change and its cause; ``since``: unix seconds of that.
        no_room: why there are fewer replicas than wanted; "" if there is room.
    """

    wanted: int
    load: float = 0.0
    why: str = ""
    no_room: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """Desired state of one model, kept on disk.

    Attributes:
        uid: the name clients send as ``model``.
        spec: the resolved model with engine and dtype decided; a restart never re-decides.
        demands: one per replica, in order; its length is the replica count.
        options: engine options, validated by the engine's declaration.
        created_at: unix seconds.
        ordinals: replica numbers, parallel to ``demands``; numbers are never used twice.
        dtype_open: what the first replica that loads chooses among, the one that ``spec`` has for now first; empty = decided.
        dtype_why: how the dtype was chosen, for people: ``measured 1.7× float32``.
        moves: ordinals of replicas that are to go, each with the ordinal of the one that takes its place once it is ready.
        scaling: None = as many replicas as people say.
        asleep: what a replica needs when the model wakes; None = it is not asleep. ``slept``: it was asleep once, so it had been ready.
        closing: it is being stopped, and serves what was accepted before until its queues are empty, or this clock; 0.0 = it is not.
    """

    uid: ModelUid
    spec: ModelSpec
    demands: tuple[Demand, ...]
    ordinals: tuple[int, ...]
    created_at: float
    options: Mapping[str, Any] = field(default_factory=dict)
    next_ordinal: int = 0
    dtype_open: tuple[Dtype, ...] = ()
    dtype_why: str = ""
    moves: Mapping[int, int] = field(default_factory=dict)
    scaling: Scaling | None = None
    asleep: Demand | None = None
    slept: bool = False
    closing: float = 0.0

    @property
    def stopping(self) -> bool:
        """Nobody wants it any more; what is left of it drains or ends."""
        return not self.ordinals and self.asleep is None

    @property
    def pinned(self) -> int:
        """Replicas that are bound to a slot; one that moves counts once."""
        places = zip(self.ordinals, self.demands, strict=True)
        return sum(demand.pin is not None for ordinal, demand in places if ordinal not in self.moves)

    @property
    def wanted(self) -> int:
        """Replicas that were asked for: one that moves counts once."""
        return len(self.ordinals) - len(self.moves)
