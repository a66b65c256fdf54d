"""What people want of a simulated cluster: launches, stops, changes, and the traffic they send."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.fake_worker import GIB
from xinfer.catalog.spec import Dtype, LocalSource, ModelSpec, ModelType
from xinfer.cluster.deployment import Demand, Deployment, Scaling
from xinfer.cluster.ids import ModelUid, ReplicaId
from xinfer.cluster.slot import Slot
from xinfer.control.bounds import compile_scaling
from xinfer.control.events import (
    DrainRequested,
    Event,
    LaunchRequested,
    MoveRequested,
    RebalanceRequested,
    ReplicaRemoved,
    ReplicasAdded,
    ScaledDown,
    StopRequested,
)
from xinfer.errors import PlanOvertaken, Unavailable, XinferError
from xinfer.placement.rebalance import Relocation, plan_rebalance
from xinfer.placement.wants import Room
from xinfer.schemas.models import ScaleRequest

if TYPE_CHECKING:
    from tests.simulation.fake_cluster import FakeCluster

SPEC = ModelSpec(name="m", type=ModelType.RERANK, engine="sentence_transformers", sources=(LocalSource(path="/m"),))
OPEN = (Dtype.FLOAT32, Dtype.BFLOAT16)
IDLE = 4.0


class People:
    """Ask for things at random; what is refused has changed nothing."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster, self.dice = cluster, cluster.dice
        self._models = itertools.count()
        self.planned: tuple[Relocation, ...] = ()

    def wishes(self) -> list[tuple[Callable[[], None], float]]:
        """What they may do, with weights."""
        return [
            (self.launch, 7),
            (self.stop, 1.5),
            (self.add, 3),
            (self.remove, 1.5),
            (self.scale_down, 1),
            (self.set_scaling, 4),
            (self.change_load, 10),
            (self.move, 3),
            (self.drain, 1.5),
            (self.rebalance, 8),
        ]

    def _ask(self, event: Event) -> None:
        if self.cluster.supervisor_up:
            try:
                self.cluster.do(event)
            except XinferError as error:
                self.cluster.log.append(f"{self.cluster.now:.2f}   refused: {error}")

    def _demand(self) -> Demand:
        worker = self.dice.choice(list(self.cluster.workers.values()))
        size = self.dice.choice([2, 4, 8, 12]) * GIB
        kind = self.dice.random()
        if kind < 0.3:
            count = self.dice.randint(1, min(2, len(worker.devices)))
            chosen = self.dice.sample(worker.devices, count)
            return Demand(size, count, Slot(worker.id, tuple(d.uuid for d in chosen)))
        if kind < 0.4:
            return Demand(size, 1, None, worker.id)
        return Demand(size, 2 if kind < 0.5 else 1, fixed_bytes=self.dice.random() < 0.3)

    def launch(self) -> None:
        demands = tuple(self._demand() for _ in range(self.dice.randint(1, 3)))
        uid = ModelUid(f"m{next(self._models) % self.cluster.shape.models}")
        ordinals = tuple(range(len(demands)))
        pinned = sum(demand.pin is not None for demand in demands)
        scaling = Scaling(self.dice.randint(pinned, len(demands)), len(demands) + self.dice.randint(1, 2), IDLE)
        left_open = OPEN if self.dice.random() < 0.6 else ()
        wanted = Deployment(uid, SPEC, demands, ordinals, self.cluster.now, next_ordinal=len(demands), dtype_open=left_open)
        self._ask(LaunchRequested(replace(wanted, scaling=scaling if self.dice.random() < 0.5 else None)))

    def _some_model(self) -> ModelUid:
        return self.dice.choice([*self.cluster.snapshot.deployments, ModelUid("none")])

    def stop(self) -> None:
        self._ask(StopRequested(self._some_model(), drain=self.dice.random() < 0.8))

    def add(self) -> None:
        self._ask(ReplicasAdded(self._some_model(), (self._demand(),)))

    def remove(self) -> None:
        replica = self.dice.choice([*self.cluster.snapshot.replicas, ReplicaId("none-0")])
        known = self.cluster.snapshot.replicas.get(replica)
        self._ask(ReplicaRemoved(known.model_uid if known else self._some_model(), replica))

    def scale_down(self) -> None:
        self._ask(ScaledDown(self._some_model(), self.dice.randint(1, 3)))

    def set_scaling(self) -> None:
        deployment = self.cluster.snapshot.deployments.get(self._some_model())
        if deployment is not None:
            least = self.dice.choice([0, 0, 1, 2])
            bounds = ScaleRequest(min_replica=least, max_replica=least + self.dice.randint(0, 2) or 1)
            with contextlib.suppress(XinferError):
                self._ask(compile_scaling(deployment, bounds, IDLE))

    def change_load(self) -> None:
        """Other traffic for one model, or none; a model that sleeps is woken by it."""
        asleep = [uid for uid, each in self.cluster.snapshot.deployments.items() if each.asleep is not None]
        uid = self.dice.choice(asleep) if asleep else self._some_model()
        self.cluster.load[uid] = self.dice.choice([500, 6_000] if asleep else [0, 0, 500, 6_000, 30_000])

    def move(self) -> None:
        replica = self.dice.choice([*self.cluster.snapshot.replicas, ReplicaId("none-0")])
        known = self.cluster.snapshot.replicas.get(replica)
        self._ask(MoveRequested(known.model_uid if known else self._some_model(), replica, self._demand()))

    def drain(self) -> None:
        worker = self.dice.choice(list(self.cluster.workers))
        self._ask(DrainRequested(worker, undo=worker in self.cluster.snapshot.draining))

    def rebalance(self) -> None:
        room = self.dice.choice([(), (Room(self.dice.choice([8, 14, 20]) * GIB, self.dice.randint(1, 2)),)])
        if not self.cluster.supervisor_up:
            return
        fresh = plan_rebalance(self.cluster.snapshot, self.dice.randint(1, 8), room).moves
        moves, self.planned = (self.planned, fresh) if self.dice.random() < 0.3 else (fresh, self.planned)
        try:
            self.cluster.do(RebalanceRequested(moves))
        except Unavailable as error:
            if isinstance(error, PlanOvertaken) and moves is fresh:
                raise  # of what was planned just now nothing may be in the way
            self.cluster.log.append(f"{self.cluster.now:.2f}   refused: {error}")
