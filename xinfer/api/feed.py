"""The event stream: one question to the supervisor for all who watch through this API process, and each watcher's place in it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from itertools import islice

import orjson
import structlog

from xinfer.actors.watch import News
from xinfer.api import present_feed
from xinfer.api.ports import Control
from xinfer.cluster.ids import Epoch
from xinfer.cluster.journal import Change
from xinfer.errors import SupervisorUnreachable, XinferError

log = structlog.get_logger(__name__)

LONG_POLL = 20.0
BREATH = 0.2
"""Between two questions to the supervisor; what comes meanwhile comes together."""
PING = 15.0
RETRY = 0.5
KEPT = 2_000
"""Messages kept for those who watch; what one who is further behind has missed is asked of the supervisor."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event as it is sent.

    Attributes:
        number: of the change, 0 for a reading.
    """

    number: int
    text: bytes


def frame(event: str, data: object, name: str = "") -> bytes:
    """One event of the stream; ``name`` is its id."""
    head = f"id: {name}\nevent: {event}\n" if name else f"event: {event}\n"
    return head.encode() + b"data: " + orjson.dumps(data) + b"\n\n"


def place(last_event_id: str) -> tuple[Epoch, int] | None:
    """The place in the stream that ``Last-Event-ID`` names; None if it names none."""
    epoch, _, number = last_event_id.partition("-")
    if not (epoch.isascii() and epoch.isdigit() and number.isascii() and number.isdigit() and len(last_event_id) < 40):
        return None
    return Epoch(int(epoch)), int(number)


class Feed:
    """What is new, as long as somebody watches.

    Attributes:
        away: the supervisor does not answer.
    """

    def __init__(self, control: Control, clock: Callable[[], float] = time.time) -> None:
        self.away = False
        self._control = control
        self._clock = clock
        self._epoch = Epoch(-1)
        self._number = 0
        self._serial = 0
        self._first = 0
        """Position of the oldest message kept, counted over all that ever were."""
        self._messages: deque[Message] = deque()
        self._dropped = 0
        """Number of the last change of this epoch that is no longer kept."""
        self._pulse = asyncio.Event()
        self._closed = False
        self._watchers = 0
        self._following: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._wake()

    # --- what comes ---

    async def _follow(self) -> None:
        while True:
            try:
                await self._ask()
            except SupervisorUnreachable:
                self._tell_away(True)
                await asyncio.sleep(RETRY)
            except XinferError as error:
                log.warning("no news for those who watch", reason=error.message)
                await asyncio.sleep(RETRY)
            else:
                await asyncio.sleep(BREATH)

    def _go_on_following(self) -> None:
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="feed")
            self._following.add_done_callback(lambda _: self._wake())  # who watches shall not wait for one that broke

    async def _ask(self) -> None:
        news = await self._control.news(self._epoch, self._number, self._serial, 0.0 if self._epoch < 0 or self.away else LONG_POLL)
        self._tell_away(False)
        self._take(news)

    def _take(self, news: News) -> None:
        if news.changes is None:  # another epoch, or too far behind: nobody's place is worth anything now
            self._first += len(self._messages) + 1
            self._messages.clear()
            self._dropped = news.number
        for change in news.changes or ():
            self._messages.append(Message(change.number, _change(news.epoch, change)))
        for worker_id, reading in news.readings:
            self._messages.append(Message(0, frame("reading", present_feed.reading(worker_id, reading).model_dump())))
        while len(self._messages) > KEPT:
            self._dropped = self._messages.popleft().number or self._dropped
            self._first += 1
        self._epoch, self._number, self._serial = news.epoch, news.number, news.serial
        self._wake()

    def _tell_away(self, away: bool) -> None:
        if self.away != away:
            self.away = away
            self._wake()

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    # --- what goes out ---

    async def stream(self, last_event_id: str = "") -> AsyncGenerator[bytes, None]:
        """Events for one watcher, for ever: what came after ``last_event_id`` if that is known, else the whole cluster, then what follows.

        Raises:
            SupervisorUnreachable: nothing can be told yet.
        """
        self._watchers += 1
        try:
            if self._following is None:
                await self._ask()  # from here on nothing is missed
            at = place(last_event_id)
            while True:
                self._go_on_following()
                epoch, number, begin = await self._begin(at)
                for text in begin:
                    yield text
                at = (epoch, number)
                async for reached, text in self._rest(epoch, number):
                    at = (epoch, reached)
                    yield text
                if self._closed:
                    return
        finally:
            self._watchers -= 1
            if not self._watchers and self._following is not None:
                self._following.cancel()
                self._following = None
                self._epoch = Epoch(-1)
                self._messages.clear()

    async def _begin(self, at: tuple[Epoch, int] | None) -> tuple[Epoch, int, list[bytes]]:
        """Epoch and number to go on from, and what leads there."""
        while True:
            try:
                if at is not None:
                    news = await self._control.news(*at, 0, 0.0)
                    if news.changes is not None:
                        return news.epoch, news.number, [_change(news.epoch, each) for each in news.changes]
                    at = None
                whole = await self._control.whole()
            except SupervisorUnreachable:
                if self._epoch < 0:
                    raise
                await asyncio.sleep(RETRY)
                continue
            epoch, number = whole.snapshot.epoch, whole.number
            body = present_feed.snapshot(whole.snapshot, number, self._clock()).model_dump()
            return epoch, number, [frame("snapshot", body, f"{epoch}-{number}")]

    async def _rest(self, epoch: Epoch, number: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """What comes after that change, each with the number reached; ends where the watcher has to ask for the way itself."""
        following, followed, away = self._following, self._epoch, False
        if followed > epoch or (followed == epoch and number < self._dropped):
            return
        position = self._first
        while not self._closed and self._epoch == followed and position >= self._first:
            if following is None or following.done():
                return
            pulse = self._pulse
            fresh = list(islice(self._messages, position - self._first, None))
            position += len(fresh)
            due = [m for m in fresh if followed == epoch and (m.number == 0 or m.number > number)]
            number = max([number, *(m.number for m in due)])
            pieces = [m.text for m in due]
            if self.away != away:
                away = self.away
                pieces.append(frame("away" if away else "back", {}))
            if pieces:
                yield number, b"".join(pieces)
                continue
            try:
                async with asyncio.timeout(PING):
                    await pulse.wait()
            except TimeoutError:
                yield number, b": still here\n\n"


def _change(epoch: Epoch, it: Change) -> bytes:
    body = present_feed.change(it)
    return frame("change", body.model_dump(), f"{epoch}-{it.number}")
