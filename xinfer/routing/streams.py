"""Everything the API process decides about one language model: a pure core, as ``router`` is for models that score and embed.

The shell (``api.streams`` or a simulation) begins what ``begins`` returns, pulls from every replica with answers, reports what comes
to ``begun``, ``pulled`` and ``lost``, cancels what ``take_cancels`` names and tells clients what ``take_news`` returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xinfer.cluster.ids import ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import EngineError, ModelNotFound, ReplicaBusy, ReplicaLost, StaleEpoch, TooManyRequests, XinferError
from xinfer.generation.job import Emission, GenerationJob
from xinfer.routing import standing
from xinfer.routing.affinity import Affinity, prefixes
from xinfer.routing.holding import Hold
from xinfer.routing.retry import TRIES, RetryBudget
from xinfer.routing.speeds import speeds
from xinfer.routing.stream import Stream, StreamLoad, held_by_key
from xinfer.routing.stream_queue import StreamQueue
from xinfer.settings import Limits

LETTERS_PER_TOKEN = 4
CRASHES = 3
"""Replicas that may die with one answer."""
PATIENCE = 5.0
"""Seconds for which others may begin before one that finds no room; then room is left for it."""
LOOK = 8
"""Answers without room that others are looked for behind."""
CLEARLY_BUSIER = 1.5
"""A conversation goes back to its replica unless that has so many times the work of another."""
ENDS_KEPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """One answer is to begin, or to go on, there."""

    stream: Stream
    load: StreamLoad
    job: GenerationJob


class StreamRouter:
    """The router of one language model.

    Args:
        hold: seconds that an answer waits for a replica to come back; ``wake``: for that of a model that was asleep.

    Attributes:
        loads: replicas that take answers, or still have some.
        requests, errors, tokens, resumes: counts of what has ended.
    """

    def __init__(self, uid: str, *, limits: Limits, hold: float, wake: float) -> None:
        self.uid = uid
        self.loads: dict[ReplicaId, StreamLoad] = {}
        self.queue = StreamQueue()
        self.requests = self.errors = self.tokens = self.resumes = 0
        self._limits = limits
        self._hold = Hold(uid, hold, wake)
        self._retries = RetryBudget()
        self._affinity = Affinity()
        self._old: list[StreamLoad] = []  # whose id has a newer life, or none, and that still have answers
        self._news: dict[Stream, None] = {}
        self._cancels: list[tuple[Route, str]] = []
        self._ends: deque[float] = deque(maxlen=ENDS_KEPT)

    @property
    def routes(self) -> ModelRoutes | None:
        """The routes in force; None = not deployed."""
        return self._hold.routes

    def update(self, routes: ModelRoutes | None, now: float) -> None:
        """Adopt this model's routes; None = it is no longer deployed. Replicas that leave end what they have, unless a newer life says
        that they are dead."""
        self._hold.update(routes)
        listed = {route.replica_id: route for route in routes.replicas} if routes is not None else {}
        for replica_id, load in list(self.loads.items()):
            route = listed.get(replica_id)
            if route is not None and route.epoch == load.route.epoch:
                load.route = route
                continue
            del self.loads[replica_id]
            if route is not None:
                self.lost(load, ReplicaLost(f"Replica {replica_id} was replaced."), now)
            elif load.streams:
                self._old.append(load)
        for replica_id, route in listed.items():
            if replica_id not in self.loads:
                self.loads[replica_id] = self._known(route) or StreamLoad(route)
        self._watch(now)

    def _known(self, route: Route) -> StreamLoad | None:
        """A replica that had left, and is back."""
        for load in self._old:
            if (load.route.replica_id, load.route.epoch) == (route.replica_id, route.epoch):
                self._old.remove(load)
                load.route = route
                return load
        return None

    def submit(self, job: GenerationJob, *, now: float, key: str = "") -> Stream:
        """Queue one answer.

        Raises:
            Unavailable, ModelLoading, ModelNotFound: nothing can serve it and waiting would not help.
            TooManyRequests: the queue is full.
        """
        error = self._hold.refusal(now, now)
        if self.routes is not None and self.routes.closing:
            error = ModelNotFound(f"model {self.uid!r} is being stopped", param="model")
        if error is not None:
            raise error
        if len(self.queue) >= self._limits.queued_requests:
            raise TooManyRequests(f"{len(self.queue)} answers wait for this model already", retry_after=self._wait(now))
        stream = Stream(job, _guess(job), now, key, prefixes(job))
        self.queue.push(stream)
        return stream

    def _wait(self, now: float) -> float:
        """Seconds until the queue is likely to have moved on by what is in it now."""
        if len(self._ends) < 2:
            return 10.0
        rate = (len(self._ends) - 1) / max(1e-3, now - self._ends[0])
        return round(min(60.0, max(1.0, len(self.queue) / rate)), 1)

    # --- beginnings ------------------------------------------------------------------------------

    def begins(self, now: float) -> list[Begin]:
        """Every answer that there is room for, already counted."""
        begins: list[Begin] = []
        blocked: set[Stream] = set()
        held = held_by_key(self._all())
        while len(blocked) < LOOK and (stream := self.queue.first(held, blocked)) is not None:
            load = self._pick(stream, now)
            if load is None:
                if now - stream.arrived > PATIENCE:
                    break
                blocked.add(stream)
                continue
            self.queue.remove(stream)
            if not stream.attempt:
                self._retries.earn()
            job = stream.next_job()
            stream.load = load
            load.streams[job.key] = stream
            load.breaker.sent()
            self._affinity.note(stream.prefixes, load.route.replica_id)
            held[stream.key] = held.get(stream.key, 0) + stream.wants(load.capacity)
            begins.append(Begin(stream, load, job))
        return begins

    def _pick(self, stream: Stream, now: float) -> StreamLoad | None:
        """The replica with the least work for its speed, its conversation's own one unless that is clearly busier; None = no room."""
        room = [load for load in self.loads.values() if load.has_room(stream, now)]
        room = [load for load in room if load.breaker.allows(now)] or room
        room = [load for load in room if load.route.replica_id != stream.avoid] or room
        if not room:
            return None
        rated = speeds([load.route for load in room])
        scores = {load.route.replica_id: (load.work + stream.left) / speed for load, speed in zip(room, rated, strict=True)}
        best = min(room, key=lambda load: scores[load.route.replica_id])
        home = self._affinity.home(stream.prefixes)
        if home in scores and scores[home] <= CLEARLY_BUSIER * scores[best.route.replica_id]:
            return self.loads[home]
        return best

    def begun(self, begin: Begin, outcome: int | XinferError, now: float) -> None:
        """The replica's answer: tokens of the prompt, or why it did not begin."""
        stream, load, key = begin.stream, begin.load, begin.job.key
        here = load.streams.get(key) is stream
        if isinstance(outcome, int):
            if here:
                stream.prompt_tokens = outcome
            else:  # dropped meanwhile, unless its end has come before this word
                self._cancels.append((load.route, key))
            return
        if not here:
            return
        if isinstance(outcome, ReplicaLost | StaleEpoch):
            self.lost(load, outcome, now)
            return
        del load.streams[key]
        stream.load = None
        if isinstance(outcome, ReplicaBusy):
            load.busy(now)
            stream.resumes -= bool(stream.tokens)
            self.queue.push_again(stream)
        else:
            self._failed(stream, load, outcome, now)

    # --- what comes ------------------------------------------------------------------------------

    def pulled(self, load: StreamLoad, emissions: Sequence[Emission], now: float) -> None:
        """More of some answers."""
        load.closed_until = 0.0 if emissions else load.closed_until
        for emission in emissions:
            stream = load.streams.get(emission.key)
            if stream is None or not stream.take(emission):
                continue
            load.tokens += len(emission.tokens)
            self.tokens += len(emission.tokens)
            if emission.number == 1 and emission.error is None:
                load.breaker.succeeded()
            error = emission.error
            if isinstance(error, ReplicaLost | StaleEpoch):
                self.lost(load, error, now)
                continue
            if emission.last:
                del load.streams[emission.key]
                stream.load = None
            if error is not None:
                self._failed(stream, load, error, now)
                continue
            stream.fresh.append(emission)
            self._news[stream] = None
            if emission.last:
                load.answers += 1
                self._settle(stream, None, now)
        self._forget(load)

    def lost(self, load: StreamLoad, error: XinferError, now: float) -> None:
        """The replica is gone, or does not answer: all that it had goes on elsewhere."""
        load.errors += 1
        load.eject(now)
        streams, load.streams = load.streams, {}
        for key, stream in streams.items():
            stream.load = None
            stream.avoid = None
            if isinstance(error, ReplicaLost):
                stream.crashes += 1
            else:  # it may still be at work on it
                self._cancels.append((load.route, key))
            if stream.crashes > CRASHES:
                message = f"this answer was on its way on {stream.crashes} replicas as they died, alone on the last of them"
                self._settle(stream, EngineError(message, crashes=stream.crashes), now)
            else:
                self.queue.push_again(stream)
        self._forget(load)
        self._watch(now)

    def _failed(self, stream: Stream, load: StreamLoad, error: XinferError, now: float) -> None:
        """Of this answer alone."""
        load.errors += 1
        if error.http_status < 500 and not error.retryable:  # the caller's own doing
            load.breaker.released()
            self._settle(stream, error, now)
            return
        load.breaker.failed(now)
        stream.failures += 1
        stream.avoid = load.route.replica_id
        if stream.failures > TRIES or not self._retries.spend():
            self._settle(stream, error, now)
        else:
            self.queue.push_again(stream)

    def _settle(self, stream: Stream, error: XinferError | None, now: float) -> None:
        stream.settled, stream.error = True, error
        self._news[stream] = None
        self._count(stream, now)

    def _count(self, stream: Stream, now: float) -> None:
        self._ends.append(now)
        self.requests += 1
        self.errors += stream.error is not None
        self.resumes += stream.resumes

    def drop(self, stream: Stream, now: float) -> None:
        """Nobody waits for it any more."""
        self._news.pop(stream, None)
        if stream.settled:
            return
        stream.settled = True
        self._count(stream, now)
        self.queue.remove(stream)
        load, stream.load = stream.load, None
        if load is not None:
            del load.streams[stream.at]
            self._cancels.append((load.route, stream.at))
            load.breaker.released()
            self._forget(load)

    # --- time ------------------------------------------------------------------------------------

    def _all(self) -> Iterable[StreamLoad]:
        return [*self.loads.values(), *self._old]

    def _forget(self, load: StreamLoad) -> None:
        if load in self._old and not load.streams:
            self._old.remove(load)

    def _watch(self, now: float) -> None:
        """Note since when nothing can serve."""
        self._hold.watch(any(not load.ejected for load in self.loads.values()), now)

    def probes(self, now: float) -> list[StreamLoad]:
        """Ejected replicas that are due for a probe; each is returned once until its result is in."""
        return standing.probes(self.loads.values(), now)

    def probed(self, load: StreamLoad, passed: bool, now: float) -> None:
        """The result of a probe."""
        load.probed(passed, now)
        self._watch(now)

    def tick(self, now: float) -> None:
        """Fail what has waited too long for a replica."""
        if self._hold.since is None:
            return
        for stream in self.queue:
            error = self._hold.refusal(stream.arrived, now)
            if error is None:
                return  # the others are younger
            self.queue.remove(stream)
            self._settle(stream, error, now)

    def not_woken(self, error: XinferError, now: float) -> None:
        """The model stays asleep: what waits for it is told so."""
        for stream in self.queue if self.wants_waking else ():
            self.queue.remove(stream)
            self._settle(stream, error, now)

    def wake_at(self, now: float) -> float | None:
        """When to call ``tick``, ``probes`` and ``begins`` if no event comes first; None = not by the clock."""
        held = None if self._hold.since is None else self._hold.wake_at(list(self.queue))
        return min([*standing.changes_at(self.loads.values(), now), *([] if held is None else [held])], default=None)

    # --- what the shell asks ---------------------------------------------------------------------

    @property
    def work(self) -> int:
        """Tokens that are likely still to be computed, waiting and on their way."""
        return self.queue.tokens + sum(load.work for load in self._all())

    @property
    def wants_waking(self) -> bool:
        """Answers wait for a model that is asleep."""
        return self.routes is not None and self.routes.asleep and len(self.queue) > 0

    def idle(self) -> bool:
        """Nothing waits and nothing is on its way."""
        return not len(self.queue) and not any(load.streams for load in self._all())

    def pulling(self) -> list[StreamLoad]:
        """Replicas that have answers of this process."""
        return [load for load in self._all() if load.streams]

    def take_news(self) -> list[Stream]:
        """Answers of which there is more to tell, or that are settled, each once."""
        news, self._news = list(self._news), {}
        return news

    def take_cancels(self) -> list[tuple[Route, str]]:
        """Answers to end there: nobody waits for them."""
        cancels, self._cancels = self._cancels, []
        return cancels


def _guess(job: GenerationJob) -> int:
    """Tokens of a prompt that nobody has read yet."""
    if job.messages:
        letters = sum(len(str(message.get("content") or "")) + 16 for message in job.messages) + (len(repr(job.tools)) if job.tools else 0)
        return letters // LETTERS_PER_TOKEN + 1
    return len(job.prompt) // LETTERS_PER_TOKEN + 1 if isinstance(job.prompt, str) else len(job.prompt)
