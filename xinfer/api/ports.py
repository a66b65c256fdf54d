"""What the REST application is given: the way to the replicas and the way to the supervisor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from prometheus_client.metrics_core import Metric

from xinfer.actors.messages import Drained, ReplicaStats, Scaled, Upgraded, WorkerUsage, Written
from xinfer.actors.watch import News, Whole
from xinfer.batching.work import WorkItem
from xinfer.cluster.ids import Epoch, ModelUid, ReplicaId, WorkerId
from xinfer.cluster.keys import Key
from xinfer.cluster.reading import Reading
from xinfer.cluster.routes import RouteTable
from xinfer.cluster.snapshot import Snapshot
from xinfer.generation.job import Emission, GenerationJob
from xinfer.schemas.cluster import RebalanceReply, RebalanceRequest
from xinfer.schemas.launch import LaunchRequest, Placement, PlanReply
from xinfer.schemas.models import ScaleRequest
from xinfer.settings import Limits, Timings
from xinfer.store.history import Launched

Lane = Literal["interactive", "bulk"]


class Result(Protocol):
    """The answer to one request.

    Attributes:
        values: float32, (n,) scores or (n, dim) vectors in request order.
        tokens: tokens read, after truncation, over all items.
        truncated: indices of items that were cut.
        meta: notes of the model, such as ``scores_depend_on_batch``.
    """

    @property
    def values(self) -> npt.NDArray[np.float32]: ...
    @property
    def tokens(self) -> int: ...
    @property
    def truncated(self) -> Sequence[int]: ...
    @property
    def meta(self) -> Mapping[str, Any]: ...


class Inference(Protocol):
    """Requests to replicas; the dispatcher of this API process. Works with the supervisor dead."""

    async def run(
        self,
        model_uid: ModelUid,
        items: Sequence[WorkItem],
        *,
        key: str = "",
        lane: Lane | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> Result:
        """Run all items and give the values back in their order; cancelling the task drops what has not run.

        Raises:
            ModelNotFound, ModelLoading, TooManyRequests, InvalidItem, DeadlineExceeded, EngineError and the like.
        """

    def routes(self) -> RouteTable:
        """The table in use; version -1 before the first one has come."""

    def stats(self) -> Mapping[str, Any]:
        """Counters and gauges of this process; the shape stands in ``api.exposition``."""

    def why(self, request_id: str) -> Mapping[str, Any] | None:
        """Where a recent request's time went, or None if this process does not know it."""


class Growing(Protocol):
    """One answer of a language model."""

    def __aiter__(self) -> AsyncIterator[Emission]:
        """As it grows, to its end. Raises any XinferError."""


class Answers(Protocol):
    """Answers of language models; works with the supervisor dead."""

    def open(self, uid: ModelUid, job: GenerationJob, *, key: str = "") -> AbstractAsyncContextManager[Growing]:
        """One answer, which ends when the context is left.

        Raises:
            ModelNotFound, ModelLoading, Unavailable, TooManyRequests.
        """

    def stats(self) -> Mapping[str, Any]:
        """Counters and gauges of this process (``api.figures``)."""


class Control(Protocol):
    """The supervisor. Every method may raise SupervisorUnreachable."""

    async def snapshot(self) -> Snapshot:
        """The cluster as it is now."""

    async def news(self, epoch: Epoch, number: int, serial: int, wait: float) -> News:
        """Changes after ``number`` and readings after ``serial``, at once if there are any, else after ``wait`` seconds."""

    async def launches(self, limit: int) -> Sequence[Launched]:
        """The launches that were accepted last, newest first."""
        ...

    async def history(self, epoch: Epoch, number: int) -> News:
        """The changes after ``number`` of that epoch, oldest first; all that are kept where that is not known."""

    async def whole(self) -> Whole:
        """The cluster as it is now, with the number of its last change."""

    async def readings(self, worker_id: WorkerId) -> Sequence[Reading]:
        """Of one worker, the last fifteen minutes, oldest first.

        Raises:
            WorkerNotFound.
        """

    async def launch(self, request: LaunchRequest, confined: bool = False) -> ModelUid:
        """Decide and record a launch; returns before any replica is ready.

        Args:
            confined: a path must be within the model roots.

        Raises:
            InvalidRequest and its kind, ModelNotFound, AlreadyExists, NoFit, Forbidden.
        """

    async def plan(self, request: LaunchRequest, confined: bool = False) -> PlanReply:
        """What ``launch`` would do; changes nothing."""

    async def stop(self, model_uid: ModelUid, drain: bool = True) -> None:
        """Stop all replicas and forget the deployment, once what was accepted before is served, or at once.

        Raises:
            ModelNotFound.
        """

    async def cancel(self, model_uid: ModelUid) -> None:
        """Stop a deployment that is not ready yet.

        Raises:
            ModelNotFound.
        """

    async def wait_ready(self, model_uid: ModelUid, timeout: float) -> bool:
        """True once every replica is ready, False after ``timeout`` seconds.

        Raises:
            LaunchFailed and its kind, ModelNotFound.
        """

    async def add_replicas(self, model_uid: ModelUid, placement: Placement) -> Sequence[ReplicaId]:
        """Add ``placement.replica`` (default 1) replicas to a running model."""

    async def remove_replica(self, model_uid: ModelUid, replica_id: ReplicaId) -> int:
        """Remove one replica for good; returns how many remain.

        Raises:
            ModelNotFound, ReplicaNotFound.
        """

    async def scale(self, model_uid: ModelUid, wanted: ScaleRequest) -> Scaled:
        """Have so many replicas, or within other bounds; returns when they are placed, or leaving.

        Raises:
            ModelNotFound, InvalidRequest, NoFit.
        """

    async def move(self, model_uid: ModelUid, replica_id: ReplicaId, placement: Placement) -> ReplicaId:
        """Start a replica that takes another's place once it is ready; returns its id.

        Raises:
            ModelNotFound, ReplicaNotFound, InvalidPlacement, NoFit.
        """

    async def drain(self, worker: str, undo: bool | None) -> Drained:
        """Begin to empty a worker (by address, ip, host or id), end that, or (None) look how far it is.

        Raises:
            InvalidPlacement, WorkerNotFound.
        """

    async def rebalance(self, request: RebalanceRequest) -> RebalanceReply:
        """Begin the moves that leave room, all or none; with ``dry_run``, name them.

        Raises:
            InvalidRequest.
        """

    async def make_key(self, key: Key) -> None:
        """Take an API key from now on, in this process before it returns.

        Raises:
            InvalidRequest, AlreadyExists.
        """

    async def revoke_key(self, name: str) -> Key:
        """Take an API key, by name or id, no more, in this process before it returns.

        Raises:
            KeyNotFound, InvalidRequest.
        """

    async def written(self, model_uid: ModelUid, name: str, lines: int, after: tuple[str, int] | None) -> Written:
        """What the processes of a replica (by number or id) wrote, the dead ones too: the last lines, or what follows (worker, position).

        Raises:
            ModelNotFound, ReplicaNotFound.
        """

    async def upgrade(self, worker: str) -> Upgraded:
        """Have a worker (by address, ip, host or id) take up the code on its host while its replicas serve on.

        Raises:
            InvalidPlacement, WorkerNotFound, UpgradeRefused, Unavailable.
        """

    async def replica_stats(self) -> Mapping[ReplicaId, ReplicaStats]:
        """Figures of every replica that answers within a second."""

    async def usage(self) -> Sequence[WorkerUsage]:
        """Live memory and utilisation of the devices of every worker that answers."""


class Siblings(Protocol):
    """The other API processes of this server."""

    async def why(self, request_id: str) -> Mapping[str, Any] | None:
        """The first of their answers."""

    async def abort(self, request_id: str, owner: str | None = None) -> int:
        """Cancel that request wherever it runs, of that key (None: of anyone); returns how many calls it stopped."""

    async def metrics(self) -> Sequence[Sequence[Metric]]:
        """What each of them has counted (``api.exposition.own``)."""


class Cancellable(Protocol):
    """A task, as far as ``Calls`` needs one."""

    def cancel(self) -> bool: ...


class Calls:
    """Calls running in this process, by request id, so that they can be aborted by those whose calls they are."""

    def __init__(self) -> None:
        self._running: dict[str, list[tuple[str, Cancellable]]] = {}

    def enter(self, request_id: str, owner: str, call: Cancellable) -> None:
        """Note a call that has begun; ``owner`` is the id of its caller's key."""
        self._running.setdefault(request_id, []).append((owner, call))

    def leave(self, request_id: str, call: Cancellable) -> None:
        """Forget a call that has ended."""
        left = [entry for entry in self._running.get(request_id, ()) if entry[1] is not call]
        if left:
            self._running[request_id] = left
        else:
            self._running.pop(request_id, None)

    def abort(self, request_id: str, owner: str | None = None) -> int:
        """Cancel every call of that id and key (None: of anyone's); returns how many there were."""
        calls = [call for whose, call in self._running.get(request_id, ()) if owner in (None, whose)]
        for call in calls:
            call.cancel()
        return len(calls)


@dataclass(frozen=True, slots=True)
class Service:
    """All that a route needs, found at ``request.app.state.service``.

    Attributes:
        supervisor_address: ``ip:port`` of the supervisor's actor, for workers that join.
        started_at: monotonic seconds.
        clock: unix seconds, by which keys expire.
    """

    inference: Inference
    streams: Answers
    control: Control
    limits: Limits
    timings: Timings
    version: str
    supervisor_address: str
    started_at: float
    clock: Callable[[], float]
    siblings: Siblings | None = None
    calls: Calls = field(default_factory=Calls)
