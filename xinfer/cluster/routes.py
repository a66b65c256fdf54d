"""The route table that API processes hold: enough to serve with the supervisor dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xinfer.catalog.spec import ModelSpec
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.deployment import Deployment
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Keys
from xinfer.cluster.replica import Replica
from xinfer.cluster.worker import Worker


@dataclass(frozen=True, slots=True)
class Route:
    """One replica that takes work.

    Attributes:
        uid: actor uid, ``replica@epoch``.
        speed: calibrated tokens/s; 0 while unknown.
        budget_tokens: padded tokens a batch may hold; 0 while unknown.
        slot: ``ADDR@0`` for people and metrics.
        capacity: of a language model; None = none, or unknown.
    """

    replica_id: ReplicaId
    epoch: Epoch
    uid: str
    address: Address
    speed: float = 0.0
    budget_tokens: int = 0
    slot: str = ""
    capacity: Capacity | None = None


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """One deployment as routes show it.

    Attributes:
        replicas: READY ones; while there is none, those whose worker is lost.
        starting: replicas on their way to READY or in back-off.
        was_ready: some replica of this deployment has been ready before; then requests are held, not refused.
        warming: some replica has its weights and warms up; requests are held then, too.
        asleep: no replica until a request comes, which is held while one is started; ``waking``: that has begun.
        closing: it is being stopped; nothing new is taken, what was accepted before is served.
        dtype_open: the first replica still has to choose the dtype; ``dtype_why``: how it was chosen, for people.
        failed: the reason, if every replica has given up.
    """

    model_uid: ModelUid
    spec: ModelSpec
    replicas: tuple[Route, ...] = ()
    starting: int = 0
    was_ready: bool = False
    warming: bool = False
    asleep: bool = False
    waking: bool = False
    closing: bool = False
    failed: str = ""
    created_at: float = 0.0
    dtype_open: bool = False
    dtype_why: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What routes say of every deployment, carried on from step to step, and of which tables it speaks."""

    workers: Mapping[WorkerId, Worker]
    deployments: Mapping[ModelUid, Deployment]
    replicas: Mapping[ReplicaId, Replica]
    models: Mapping[ModelUid, ModelRoutes]


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All models and all API keys; ``(epoch, version)`` says which table it is.

    A version of -1 holds no routes: with epoch 0 nothing is known at all, with another one the keys are.
    """

    epoch: Epoch = Epoch(0)
    version: int = -1
    models: Mapping[ModelUid, ModelRoutes] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)

    @property
    def knows_keys(self) -> bool:
        """Until then nobody can be told from anybody."""
        return self.version >= 0 or self.epoch > 0
