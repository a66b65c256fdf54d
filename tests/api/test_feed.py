"""The event stream: nothing lost, nothing doubled, wherever one comes back; and what it says."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from tests.api.fakes import FakeControl, cluster, in_phase
from tests.support.nouns import replica, slot
from xinfer.api import feed as module
from xinfer.api import present_feed
from xinfer.api.feed import Feed
from xinfer.cluster.ids import DeviceUuid, Epoch, ReplicaId, WorkerId
from xinfer.cluster.journal import Journal
from xinfer.cluster.reading import DeviceReading, Reading, ReplicaReading
from xinfer.cluster.replica import Phase
from xinfer.errors import SupervisorUnreachable

A = WorkerId("a")


@dataclass
class Event:
    """One event as a client sees it."""

    id: str
    kind: str
    data: Any


def parsed(text: bytes) -> list[Event]:
    found = []
    for block in text.decode().strip("\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            found.append(Event(lines.get("id", ""), lines["event"], orjson.loads(lines["data"])))
    return found


class Watcher:
    """Reads a stream and keeps the cluster it shows, as a page does."""

    def __init__(self, feed: Feed, last: str = "") -> None:
        self.last = last
        self.replicas: dict[str, Any] = {}
        self.numbers: list[str] = []
        self._events: list[Event] = []
        self._stream: AsyncGenerator[bytes, None] = feed.stream(last)

    async def next(self) -> Event:
        while not self._events:
            async with asyncio.timeout(10):
                self._events = parsed(await anext(self._stream))
        event = self._events.pop(0)
        if event.id:
            self.last = event.id
            self.numbers.append(event.id)
        if event.kind == "snapshot":
            self.replicas = {each["replica_model_uid"]: each for each in event.data["replicas"]}
        elif event.kind == "change" and event.data["kind"] == "replica":
            self.replicas.pop(event.data["key"], None)
            if event.data["replica"] is not None:
                self.replicas[event.data["key"]] = event.data["replica"]
        return event

    async def until(self, kind: str) -> Event:
        while True:
            event = await self.next()
            if event.kind == kind:
                return event

    async def leave(self) -> None:
        await self._stream.aclose()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BREATH", 0.0)
    monkeypatch.setattr(module, "RETRY", 0.01)


@pytest.fixture
async def control() -> FakeControl:
    return FakeControl(cluster())


@pytest.fixture
async def feed(control: FakeControl) -> AsyncIterator[Feed]:
    made = Feed(control, lambda: 7.0)
    yield made
    made.close()


async def test_the_whole_cluster_first_then_numbered_changes(control: FakeControl, feed: Feed) -> None:
    watcher = Watcher(feed)
    first = await watcher.next()
    assert (first.kind, first.id, first.data["number"], first.data["at"]) == ("snapshot", "3-0", 0, 7.0)
    assert [w["address"] for w in first.data["workers"]] == ["10.0.0.1:24002"]
    assert [d["slot"] for d in first.data["workers"][0]["devices"]] == [f"10.0.0.1:24002@{i}" for i in range(4)]
    assert [(m["model_uid"], m["replica"], m["status"]) for m in first.data["models"]] == [("ce", 2, ""), ("emb", 1, ""), ("plain", 1, "")]
    assert watcher.replicas["ce-1"]["seen_uuids"] == ["a-1"]
    in_phase(control, "ce-1", Phase.BACKOFF, error="It was killed.", restarts=1, retry_at=9.0, slot=None)
    change = await watcher.next()
    assert (change.kind, change.id, change.data["level"]) == ("change", "3-1", "error")
    assert change.data["text"] == "Replica ce-1 ended and will be started again: It was killed."
    assert {name: change.data["replica"][name] for name in ("phase", "restarts", "retry_at")} == {
        "phase": "backoff",
        "restarts": 1,
        "retry_at": 9.0,
    }
    control.become(replace(control.state, replicas={k: r for k, r in control.state.replicas.items() if k != "ce-1"}))
    gone = await watcher.next()
    assert (gone.id, gone.data["key"], gone.data["replica"], gone.data["worker"]) == ("3-2", "ce-1", None, None)
    await watcher.leave()


async def test_who_comes_back_gets_what_was_missed_and_nothing_twice(control: FakeControl, feed: Feed) -> None:
    watcher = Watcher(feed)
    await watcher.next()
    in_phase(control, "ce-0", Phase.DRAINING)
    await watcher.next()
    await watcher.leave()
    in_phase(control, "ce-0", Phase.STOPPING)
    in_phase(control, "ce-1", Phase.DRAINING)
    again = Watcher(feed, watcher.last)
    assert [(await again.next()).id for _ in range(2)] == ["3-2", "3-3"]
    in_phase(control, "emb-0", Phase.DRAINING)
    assert (await again.next()).id == "3-4"
    await again.leave()


@pytest.mark.parametrize("last", ["1-0", "0-0", "3-99", "x", "3", "-", "3-0-2", "3-" + "9" * 60, "²-1"])
async def test_a_place_that_is_not_known_gets_the_whole_cluster(control: FakeControl, feed: Feed, last: str) -> None:
    watcher = Watcher(feed, last)
    assert (await watcher.next()).kind == "snapshot"
    await watcher.leave()


async def test_another_supervisor_means_the_whole_cluster_anew(control: FakeControl, feed: Feed) -> None:
    watcher = Watcher(feed)
    await watcher.next()
    in_phase(control, "ce-0", Phase.DRAINING)
    await watcher.next()
    control.restart(5)
    fresh = await watcher.until("snapshot")
    assert (fresh.id, watcher.replicas["ce-0"]["phase"]) == ("5-0", "draining")
    in_phase(control, "ce-0", Phase.STOPPING)
    assert (await watcher.next()).id == "5-1"
    await watcher.leave()


async def test_a_supervisor_that_is_away_is_said_and_so_is_its_return(control: FakeControl, feed: Feed) -> None:
    watcher = Watcher(feed)
    await watcher.next()
    control.down = SupervisorUnreachable("no answer")
    control.tell()
    assert (await watcher.next()).kind == "away"
    control.down = None
    in_phase(control, "ce-0", Phase.DRAINING)
    seen = [await watcher.next(), await watcher.next()]
    assert sorted(event.kind for event in seen) == ["back", "change"]
    await watcher.leave()


async def test_nothing_can_be_told_before_the_supervisor_has_been_seen(control: FakeControl, feed: Feed) -> None:
    control.down = SupervisorUnreachable("no answer")
    with pytest.raises(SupervisorUnreachable):
        await Watcher(feed).next()
    control.down = None
    watcher = Watcher(feed)
    assert (await watcher.next()).kind == "snapshot"
    await watcher.leave()


async def test_one_question_to_the_supervisor_for_all_and_none_when_nobody_watches(control: FakeControl, feed: Feed) -> None:
    watchers = [Watcher(feed) for _ in range(20)]
    for each in watchers:
        await each.next()
    before = control.asked
    in_phase(control, "ce-0", Phase.DRAINING)
    assert {(await each.next()).id for each in watchers} == {"3-1"}
    assert control.asked - before <= 2
    for each in watchers:
        await each.leave()
    asked = control.asked
    in_phase(control, "ce-0", Phase.STOPPING)
    await asyncio.sleep(0.05)
    assert control.asked == asked


@pytest.mark.parametrize("begun", [False, True])
async def test_who_is_far_behind_gets_what_was_missed_once_and_holds_up_nobody(
    control: FakeControl, feed: Feed, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    monkeypatch.setattr(module, "KEPT", 10)
    slow, quick = Watcher(feed), Watcher(feed)
    await slow.next()
    await quick.next()
    for n in range(41):
        in_phase(control, "ce-0", Phase.READY, speed=float(n + 1))
        assert (await quick.next()).data["replica"]["speed"] == n + 1
        if begun and not n:
            await slow.next()
    while slow.last != "3-41":
        await slow.next()
    assert slow.numbers == [f"3-{n}" for n in range(42)]
    assert len(feed._messages) <= 10
    await slow.leave()
    await quick.leave()


async def test_readings_do_not_hide_that_a_change_is_no_longer_kept(
    control: FakeControl, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    slow, quick = Watcher(feed), Watcher(feed)
    await slow.next()
    await quick.next()
    in_phase(control, "ce-0", Phase.DRAINING)
    await quick.next()
    for at in range(6):
        control.watch.heard(A, Reading(float(at)))
        control.tell()
        await quick.until("reading")
    assert (await slow.next()).id == "3-1"
    await slow.leave()
    await quick.leave()


async def test_who_begins_while_the_feed_itself_loses_its_place_misses_nothing(control: FakeControl, feed: Feed) -> None:
    control.watch.journal = Journal(control.state, kept=5)
    slow, quick = Watcher(feed), Watcher(feed)
    await slow.next()
    await quick.next()
    for n in range(20):  # at once, before the feed asks again
        in_phase(control, "ce-0", Phase.READY, speed=float(n + 1))
    await quick.until("snapshot")
    in_phase(control, "ce-0", Phase.DRAINING)
    await quick.next()
    assert (await slow.next()).kind == "snapshot"
    assert slow.replicas["ce-0"]["phase"] == "draining"
    await slow.leave()
    await quick.leave()


async def test_what_breaks_once_is_told_again(control: FakeControl, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(feed)
    await watcher.next()
    said, broken = present_feed.change, [True]
    monkeypatch.setattr(module.present_feed, "change", lambda it: 1 / 0 if broken and broken.pop() else said(it))
    in_phase(control, "ce-0", Phase.DRAINING)
    assert (await watcher.next()).id == "3-1"
    following, asked = asyncio.ensure_future(watcher.next()), control.asked
    await asyncio.sleep(0.05)
    assert control.asked - asked <= 2, "it waits"
    in_phase(control, "ce-0", Phase.STOPPING)
    assert (await following).id == "3-2"
    await watcher.leave()


async def test_who_is_further_behind_than_anyone_remembers_gets_the_whole_cluster(control: FakeControl, feed: Feed) -> None:
    control.watch.journal = Journal(control.state, kept=5)
    watcher = Watcher(feed)
    await watcher.next()
    await watcher.leave()
    for n in range(20):
        in_phase(control, "ce-0", Phase.READY, speed=float(n + 1))
    again = Watcher(feed, watcher.last)
    assert [(e.kind, e.id) for e in [await again.next()]] == [("snapshot", "3-20")]
    assert again.replicas["ce-0"]["speed"] == 20
    await again.leave()


async def test_a_stream_that_breaks_ends_and_the_next_one_works(control: FakeControl, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(feed)
    await watcher.next()
    with monkeypatch.context() as broken:
        broken.setattr(module.present_feed, "change", lambda it: 1 / 0)
        in_phase(control, "ce-0", Phase.DRAINING)
        with pytest.raises(ZeroDivisionError):
            await watcher.next()
    again = Watcher(feed, "3-0")
    assert (await again.next()).id == "3-1"
    await again.leave()


async def test_a_replica_that_is_started_again_at_once_is_said_to_have_ended(control: FakeControl, feed: Feed) -> None:
    in_phase(control, "ce-0", Phase.SPAWNING, epoch=Epoch(9), restarts=1, error="It was killed.")
    in_phase(control, "ce-1", Phase.BACKOFF, epoch=Epoch(9), error="It was killed.")
    in_phase(control, "ce-1", Phase.SPAWNING, epoch=Epoch(10), restarts=1, error="It was killed.")
    assert [present_feed.said(change) for change in control.watch.journal.all()] == [
        ("error", "Replica ce-0 ended and is being started again: It was killed."),
        ("error", "Replica ce-1 ended and will be started again: It was killed."),
        ("info", "Replica ce-1 is being started again."),
    ]


@pytest.mark.parametrize("phase", Phase)
async def test_every_phase_has_its_words(control: FakeControl, feed: Feed, phase: Phase) -> None:
    in_phase(control, "ce-0", Phase.STOPPED if phase is Phase.READY else phase)
    in_phase(control, "ce-0", phase)
    assert all(present_feed.said(change)[1].startswith("Replica ce-0 ") for change in control.watch.journal.all())


async def test_a_quiet_stream_says_that_it_is_there(control: FakeControl, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING", 0.01)
    stream = feed.stream()
    await anext(stream)
    assert await anext(stream) == b": still here\n\n"
    await stream.aclose()


async def test_closing_ends_every_stream(control: FakeControl, feed: Feed) -> None:
    streams = [feed.stream() for _ in range(3)]
    for stream in streams:
        await anext(stream)
    ends = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    feed.close()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
    assert all(isinstance(outcome, StopAsyncIteration) for outcome in outcomes)


async def test_readings_come_to_all_and_have_no_number(control: FakeControl, feed: Feed) -> None:
    watcher = Watcher(feed)
    await watcher.next()
    lone = ReplicaReading(ReplicaId("ce-0"), control.state.replicas[ReplicaId("ce-0")].epoch, 3, 1.5, 30.0, 900.0, 0.5, 0.1, 0.2)
    control.watch.heard(A, Reading(5.0, (DeviceReading(DeviceUuid("a-0"), 0.75, 100), DeviceReading(DeviceUuid("a-1"))), (lone,)))
    control.tell()
    event = await watcher.next()
    assert (event.kind, event.id, event.data["worker_id"]) == ("reading", "", "a")
    assert event.data["devices"] == [{"uuid": "a-0", "utilization": 0.75, "free_bytes": 100}]
    assert (event.data["replicas"][0]["queue"], event.data["replicas"][0]["p95"]) == (3, 0.2)
    await watcher.leave()


@pytest.mark.parametrize("seed", range(20))
async def test_any_watcher_ends_with_what_is_there(control: FakeControl, feed: Feed, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes, restarts of the supervisor, outages, watchers that leave and come back: at the end all show the same."""
    monkeypatch.setattr(module, "KEPT", 30)
    dice = random.Random(seed)
    watchers = [Watcher(feed) for _ in range(4)]
    for step in range(150):
        kind, at = dice.random(), dice.randrange(4)
        if kind < 0.5:
            them = dict(control.state.replicas)
            key = f"ce-{dice.randrange(6)}"
            if ReplicaId(key) in them and dice.random() < 0.3:
                del them[ReplicaId(key)]
            else:
                made = replica("ce", int(key[3:]), slot("a", 0), phase=dice.choice(list(Phase)), restarts=step)
                them[ReplicaId(key)] = made
            control.become(replace(control.state, replicas=them))
        elif kind < 0.7:
            watcher = watchers[at]
            if control.down is None or watcher.numbers:
                for _ in range(dice.randrange(1, 4)):
                    if control.down is None and not watcher.last.endswith(f"-{control.watch.journal.number}"):
                        await watcher.next()
        elif kind < 0.85:
            await watchers[at].leave()
            old, watchers[at] = watchers[at], Watcher(feed, watchers[at].last)
            watchers[at].replicas, watchers[at].numbers = old.replicas, old.numbers
        elif kind < 0.9:
            control.restart(control.state.epoch + 1)
        elif kind < 0.95:
            control.down = None if control.down else SupervisorUnreachable("gone")
            control.tell()
        await asyncio.sleep(0)
    control.down = None
    control.become(replace(control.state, replicas={**control.state.replicas, ReplicaId("ce-9"): replica("ce", 9, slot("a", 1))}))
    goal = f"{control.state.epoch}-{control.watch.journal.number}"
    truth = {key: (it.phase.value, it.restarts) for key, it in control.state.replicas.items()}
    for watcher in watchers:
        while watcher.last != goal:
            await watcher.next()
        assert {key: (it["phase"], it["restarts"]) for key, it in watcher.replicas.items()} == truth
        within: dict[str, list[int]] = {}
        for name in watcher.numbers:
            epoch, number = name.split("-")
            within.setdefault(epoch, []).append(int(number))
        for numbers in within.values():
            assert all(one < two for one, two in itertools.pairwise(numbers) if two), numbers
        await watcher.leave()
