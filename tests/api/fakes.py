"""The two ports of the application, kept to their contracts, without a cluster behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.nouns import deployment, replica, slot, snapshot, worker
from xinfer.actors.messages import Drained, ReplicaStats, Scaled, Upgraded, WorkerUsage, Written
from xinfer.actors.watch import News, Watch, Whole
from xinfer.api.ports import Lane
from xinfer.batching.work import WorkItem
from xinfer.catalog.spec import EmbeddingTraits, LocalSource, ModelSpec, ModelType
from xinfer.cluster.deployment import Demand, Scaling
from xinfer.cluster.device import DeviceKind, DeviceReport
from xinfer.cluster.ids import DeviceUuid, Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.reading import Reading
from xinfer.cluster.replica import Phase
from xinfer.cluster.routes import RouteTable
from xinfer.cluster.routes_of import route_table
from xinfer.cluster.snapshot import Snapshot
from xinfer.control.keys import find
from xinfer.control.whereabouts import unknown, whereabouts
from xinfer.errors import AlreadyExists, ModelNotFound, XinferError
from xinfer.schemas.cluster import RebalanceReply, RebalanceRequest
from xinfer.schemas.launch import LaunchRequest, Placement, PlannedMove, PlanReply
from xinfer.schemas.models import ScaleRequest
from xinfer.store.history import Launched

DIM = 8
RERANKER = ModelSpec(name="tiny-reranker", type=ModelType.RERANK, engine="onnxruntime", sources=(LocalSource(path="/m/ce"),), max_tokens=64)


def embedder(matryoshka: bool) -> ModelSpec:
    """An embedding model of ``DIM`` dimensions."""
    traits = EmbeddingTraits(dimensions=DIM, matryoshka=matryoshka)
    sources = (LocalSource(path="/m/emb"),)
    return ModelSpec(name="tiny-embedder", type=ModelType.EMBEDDING, engine="sentence_transformers", sources=sources, embedding=traits)


def report(uuid: str) -> DeviceReport:
    """What a replica on that simulated device says."""
    return DeviceReport(DeviceUuid(uuid), "Sim 24", DeviceKind.SIMULATED, used_bytes=1000)


def cluster() -> Snapshot:
    """One worker of 4 devices: reranker "ce" on 0 and 1, embedders "emb" (matryoshka) and "plain" on 2, one "ce" replica queued."""
    two = (Demand(1), Demand(1))
    return snapshot(
        [worker("a")],
        [
            replica("ce", 0, slot("a", 0), pid=100, reports=(report("a-0"),), ready_at=1.0),
            replica("ce", 1, slot("a", 1), pid=101, reports=(report("a-1"),), ready_at=1.0),
            replica("emb", 0, slot("a", 2), pid=102, reports=(report("a-2"),), ready_at=1.0),
            replica("plain", 0, slot("a", 2), pid=103, reports=(report("a-2"),), ready_at=1.0),
        ],
        [
            deployment("ce", two, of=RERANKER),
            deployment("emb", [Demand(1)], of=embedder(True)),
            deployment("plain", [Demand(1)], of=embedder(False)),
        ],
    )


def score(item: WorkItem) -> float:
    """A document's score: its length, so that tests know the order."""
    return float(len(item.pair or "")) + (100.0 if item.raw else 0.0)


def vector(item: WorkItem) -> npt.NDArray[np.float32]:
    """A vector that differs by text; of length 1 unless raw."""
    seed = sum(item.text) if isinstance(item.text, tuple) else sum(item.text.encode())
    values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return values * 3 if item.raw else values / np.linalg.norm(values)


@dataclass
class FakeResult:
    """The shape of ``ports.Result``."""

    values: npt.NDArray[np.float32]
    tokens: int
    truncated: tuple[int, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


class FakeInference:
    """Answers from ``score`` and ``vector``; can fail, block, or give NaN."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        self.calls: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.block: asyncio.Event | None = None
        self.delay = 0.0
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.poison: int | None = None
        self.truncated: tuple[int, ...] = ()
        self.stories: dict[str, dict[str, Any]] = {}
        self.figures: dict[str, Any] = {}

    async def run(
        self,
        model_uid: ModelUid,
        items: Sequence[WorkItem],
        *,
        key: str = "",
        lane: Lane | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> FakeResult:
        """Note the call, then answer it."""
        self.calls.append({"uid": model_uid, "items": items, "key": key, "lane": lane, "request_id": request_id})
        if self.error is not None:
            raise self.error
        await asyncio.sleep(self.delay)
        if self.block is not None:
            self.entered.set()
            try:
                await self.block.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        reranks = self.table.models[model_uid].spec.type is ModelType.RERANK
        values = np.array([score(i) if reranks else vector(i) for i in items], np.float32)
        if self.poison is not None:
            values[self.poison] = np.nan
        return FakeResult(values, 3 * len(items), self.truncated)

    def routes(self) -> RouteTable:
        """The table that the test set."""
        return self.table

    def stats(self) -> Mapping[str, Any]:
        """What the test set."""
        return self.figures

    def why(self, request_id: str) -> Mapping[str, Any] | None:
        """What the test set."""
        return self.stories.get(request_id)


class FakeControl:
    """A snapshot that launches and stops change at once; ``down`` makes every call raise."""

    def __init__(self, state: Snapshot) -> None:
        self.state = state
        self.watch = Watch(state)
        self.kept: dict[WorkerId, tuple[Reading, ...]] = {}
        self.asked = 0
        self._changed = asyncio.Event()
        self.launched: list[LaunchRequest] = []
        self.past: tuple[Launched, ...] = ()
        self.confined: list[bool] = []
        self.made: list[Key] = []
        self.placements: list[Placement] = []
        self.scaled: list[tuple[ModelUid, ScaleRequest]] = []
        self.stopped: list[tuple[ModelUid, bool]] = []
        self.moved: list[ReplicaId] = []
        self.drained: list[tuple[str, bool | None]] = []
        self.rebalanced: list[RebalanceRequest] = []
        self.down: XinferError | None = None
        self.ready: list[bool | XinferError] = []
        self.block: asyncio.Event | None = None
        self.waiting = asyncio.Event()
        self.plan_reply = PlanReply(
            fits=False,
            model_uid="m",
            model_name="tiny",
            model_engine="onnxruntime",
            dtype="float32",
            memory_per_device_bytes=1,
            replicas=[],
            refused=[{"slot": "10.0.0.1:24002@0", "reason": "too small"}],  # type: ignore[list-item]
            reason="nothing fits",
        )

    def _up(self) -> None:
        if self.down is not None:
            raise self.down

    def _has(self, uid: ModelUid) -> None:
        self._up()
        if uid not in self.state.deployments:
            raise ModelNotFound(f"No model {uid} is running.", param="model_uid")

    async def snapshot(self) -> Snapshot:
        """The state."""
        self._up()
        return self.state

    def become(self, state: Snapshot, at: float = 1.0) -> None:
        """The cluster changes; who waits for news has them."""
        self.state = state
        self.watch.moved_on(state, at)
        self.tell()

    def restart(self, epoch: int) -> None:
        """Another supervisor takes over."""
        self.state = replace(self.state, epoch=Epoch(epoch))
        self.watch = Watch(self.state)
        self.tell()

    def tell(self) -> None:
        """Wake who waits for news."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def news(self, epoch: Epoch, number: int, serial: int, wait: float) -> News:
        """What is new, when it is."""
        self.asked += 1
        self._up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while not self.watch.is_new(epoch, number, serial):
                    await self._changed.wait()
                    self._up()
        return self.watch.news(epoch, number, serial)

    async def launches(self, limit: int) -> tuple[Launched, ...]:
        return self.past[:limit]

    async def history(self, epoch: Epoch, number: int) -> News:
        """What has changed since."""
        self._up()
        return self.watch.history(epoch, number)

    async def whole(self) -> Whole:
        """The state with its number."""
        self._up()
        self.watch.moved_on(self.state, 1.0)
        return Whole(self.watch.journal.number, replace(self.state, floor=None))

    async def readings(self, worker_id: WorkerId) -> tuple[Reading, ...]:
        """What the test put there."""
        self._up()
        return self.kept.get(worker_id, ())

    async def launch(self, request: LaunchRequest, confined: bool = False) -> ModelUid:
        """Adds a deployment without replicas."""
        self._up()
        self.confined.append(confined)
        uid = ModelUid(request.model_uid or request.model_name or "unnamed")
        if uid in self.state.deployments:
            raise AlreadyExists(f"model_uid {uid} is taken.", param="model_uid")
        self.launched.append(request)
        made = deployment(uid, [Demand(1)] * (request.replica or 1), of=RERANKER)
        self.state = replace(self.state, deployments={**self.state.deployments, uid: made})
        return uid

    async def plan(self, request: LaunchRequest, confined: bool = False) -> PlanReply:
        """What the test set."""
        self._up()
        self.confined.append(confined)
        self.launched.append(request)
        return self.plan_reply

    async def stop(self, model_uid: ModelUid, drain: bool = True) -> None:
        """Removes the deployment."""
        self._has(model_uid)
        self.stopped.append((model_uid, drain))
        self.state = replace(self.state, deployments={k: v for k, v in self.state.deployments.items() if k != model_uid})

    async def cancel(self, model_uid: ModelUid) -> None:
        """The same."""
        await self.stop(model_uid)

    async def wait_ready(self, model_uid: ModelUid, timeout: float) -> bool:
        """The next of ``ready``; True when there is none left."""
        self._has(model_uid)
        if self.block is not None:
            self.waiting.set()
            await self.block.wait()
        answer = self.ready.pop(0) if self.ready else True
        if isinstance(answer, XinferError):
            raise answer
        return answer

    async def add_replicas(self, model_uid: ModelUid, placement: Placement) -> Sequence[ReplicaId]:
        """New replicas on device 3."""
        self._has(model_uid)
        self.placements.append(placement)
        first = sum(r.model_uid == model_uid for r in self.state.replicas.values())
        new = [replica(model_uid, first + n, slot("a", 3), phase=Phase.SPAWNING) for n in range(placement.replica or 1)]
        self.state = replace(self.state, replicas={**self.state.replicas, **{r.id: r for r in new}})
        return [r.id for r in new]

    async def remove_replica(self, model_uid: ModelUid, replica_id: ReplicaId) -> int:
        """Takes it out."""
        self._has(model_uid)
        left = {k: v for k, v in self.state.replicas.items() if k != replica_id}
        self.state = replace(self.state, replicas=left)
        return sum(r.model_uid == model_uid for r in left.values())

    async def scale(self, model_uid: ModelUid, wanted: ScaleRequest) -> Scaled:
        """Notes what is wanted."""
        self._has(model_uid)
        self.scaled.append((model_uid, wanted))
        bounds = Scaling(wanted.min_replica or 0, wanted.max_replica) if wanted.max_replica else None
        return Scaled(wanted.replica or 1, (ReplicaId(f"{model_uid}-9"),), (), bounds)

    async def move(self, model_uid: ModelUid, replica_id: ReplicaId, placement: Placement) -> ReplicaId:
        """A new replica on device 3."""
        self._has(model_uid)
        self.moved.append(replica_id)
        (new,) = await self.add_replicas(model_uid, placement)
        return new

    async def written(self, model_uid: ModelUid, name: str, lines: int, after: tuple[str, int] | None) -> Written:
        """One line per line asked for, up to three; more only after position 5."""
        self._up()
        place = whereabouts(self.state, model_uid, name)
        if place.replica is None:
            raise unknown(self.state, model_uid, name)
        text = f"{after} is followed\n" if after else "".join(f"{place.id} wrote {n}\n" for n in range(min(lines, 3)))
        return Written(place.id, "worker-a", 7, text)

    async def upgrade(self, worker: str) -> Upgraded:
        """Of the only worker."""
        self._up()
        only = next(iter(self.state.workers.values()))
        return Upgraded(only.id, only.address, "1.2.3", "1.2.4", (ReplicaId("ce-0"),))

    async def drain(self, worker: str, undo: bool | None) -> Drained:
        """Of the only worker: one replica leaves, one stays."""
        self._up()
        self.drained.append((worker, undo))
        only = next(iter(self.state.workers.values()))
        if undo is not None:
            self.state = replace(self.state, draining=frozenset() if undo else frozenset({only.id}))
        return Drained(
            only.id,
            only.address,
            only.id in self.state.draining,
            (ReplicaId("ce-0"),),
            (ReplicaId("ce-1"),),
            {ReplicaId("ce-0"): "no room"},
        )

    async def rebalance(self, request: RebalanceRequest) -> RebalanceReply:
        """One move, with a successor unless it is a dry run."""
        self._up()
        self.rebalanced.append(request)
        successor = None if request.dry_run else "ce-9"
        move = PlannedMove(
            model_uid="ce", replica_model_uid="ce-0", slot="A@0", to_slot="A@3", reserved_bytes=1, why="why", successor=successor
        )
        return RebalanceReply(dry_run=request.dry_run, moves=[move])

    async def make_key(self, key: Key) -> None:
        """Notes it, and has it."""
        self._up()
        self.made.append(key)
        self.state = replace(self.state, keys={**self.state.keys, key.id: key})

    async def revoke_key(self, name: str) -> Key:
        """By name."""
        self._up()
        key = replace(find(self.state.keys, name), revoked_at=5.0)
        self.state = replace(self.state, keys={**self.state.keys, key.id: key})
        return key

    async def replica_stats(self) -> Mapping[ReplicaId, ReplicaStats]:
        """Of the first reranker."""
        self._up()
        return {
            ReplicaId("ce-0"): ReplicaStats(
                ReplicaId("ce-0"), Epoch(1), items=7, tokens=70, busy_seconds=1.5, queued_items=2, queued_tokens=9
            )
        }

    async def usage(self) -> Sequence[WorkerUsage]:
        """Device 0 is half used."""
        self._up()
        only = next(iter(self.state.workers.values()))
        return [WorkerUsage(only.id, only.address, {DeviceUuid("a-0"): 12}, {DeviceUuid("a-0"): 0.5})]


def ports() -> tuple[FakeInference, FakeControl]:
    """Both over one cluster."""
    state = cluster()
    return FakeInference(route_table(state)), FakeControl(state)


def in_phase(control: FakeControl, key: str, phase: Phase, **fields: Any) -> None:
    """One replica of the fake cluster becomes something else."""
    them = dict(control.state.replicas)
    them[ReplicaId(key)] = replace(them[ReplicaId(key)], phase=phase, **fields)
    control.become(replace(control.state, replicas=them))
