"""The router of language models: where answers begin, and how they go on when a replica is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.nouns import spec
from xinfer.catalog.spec import ModelType
from xinfer.cluster.capacity import Capacity
from xinfer.cluster.ids import Address, Epoch, ModelUid, ReplicaId
from xinfer.cluster.routes import ModelRoutes, Route
from xinfer.errors import EngineError, InvalidItem, ModelLoading, ModelNotFound, ReplicaBusy, ReplicaLost, TooManyRequests
from xinfer.generation.job import Emission, Finish, GenerationJob, Sampling
from xinfer.routing.retry import TRIES
from xinfer.routing.standing import BUSY_PAUSE
from xinfer.routing.stream import Stream
from xinfer.routing.streams import CRASHES, PATIENCE, Begin, StreamRouter
from xinfer.settings import Limits

M = ModelUid("m")
FOUR = Capacity(context_tokens=1000, kv_tokens=4000, places=4)


def route(name: str, epoch: int = 1, capacity: Capacity | None = FOUR, speed: float = 100.0) -> Route:
    return Route(ReplicaId(name), Epoch(epoch), f"{name}@{epoch}", Address("127.0.0.1:1"), speed=speed, capacity=capacity)


def routes(*listed: Route, **more: Any) -> ModelRoutes:
    return ModelRoutes(M, spec().model_copy(update={"type": ModelType.LLM}), replicas=listed, was_ready=True, **more)


def router(*listed: Route, limits: Limits | None = None) -> StreamRouter:
    made = StreamRouter("m", limits=limits or Limits(), hold=30.0, wake=120.0)
    made.update(routes(*listed), 0.0)
    return made


def job(name: str = "j", max_tokens: int | None = 10, **fields: Any) -> GenerationJob:
    return GenerationJob(name, prompt=fields.pop("prompt", "word " * 8), max_tokens=max_tokens, **fields)


def started(made: StreamRouter, now: float = 0.0, prompt_tokens: int = 10) -> list[Begin]:
    begins = made.begins(now)
    for begin in begins:
        made.begun(begin, prompt_tokens, now)
    return begins


def says(begin: Begin, number: int, *tokens: int, **more: Any) -> Emission:
    text = "".join(chr(97 + token % 26) for token in tokens)
    return Emission(begin.job.key, number, tokens, text, prompt_tokens=10 if number == 1 else 0, **more)


def where(begins: list[Begin]) -> list[str]:
    return [begin.load.route.replica_id for begin in begins]


def test_answers_spread_over_replicas_by_their_work_and_speed() -> None:
    made = router(route("a"), route("b"), route("slow", speed=10.0))
    for number in range(6):
        made.submit(job(f"j{number}"), now=0.0)
    placed = where(made.begins(0.0))
    assert placed.count("a") == placed.count("b") == 3


@pytest.mark.parametrize(
    ("capacity", "fits"), [(Capacity(1000, 4000, 2), 2), (Capacity(1000, 70, 16), 3), (None, 1), (Capacity(1000, 5, 16), 1)]
)
def test_what_a_replica_has_no_room_for_waits_for_an_end(capacity: Capacity | None, fits: int) -> None:
    made = router(route("a", capacity=capacity))
    streams = [made.submit(job(f"j{number}"), now=0.0) for number in range(5)]
    begins = started(made)
    assert len(begins) == fits
    assert made.begins(1.0) == []
    made.pulled(begins[0].load, [says(begins[0], 1, 1, finish=Finish.STOP)], 2.0)
    assert streams[0].settled
    assert [begin.stream for begin in made.begins(2.0)] == [streams[fits]]


def test_an_answer_grows_each_emission_once() -> None:
    made = router(route("a"))
    stream = made.submit(job(), now=0.0)
    (begin,) = started(made)
    one, two, three = says(begin, 1, 1), says(begin, 2, 2, 3), says(begin, 3, finish=Finish.LENGTH)
    made.pulled(begin.load, [one, two], 0.0)
    assert begin.load.seen() == {begin.job.key: 2}
    made.pulled(begin.load, [one, two, three], 0.0)
    assert stream.fresh == [one, two, three]
    assert (stream.tokens, stream.settled, stream.error) == ([1, 2, 3], True, None)
    assert made.take_news() == [stream]
    assert made.take_news() == []
    assert made.idle()
    assert (made.requests, made.errors, made.tokens) == (1, 0, 3)


def test_a_lost_replicas_answers_go_on_elsewhere_ahead_of_new_ones() -> None:
    made = router(route("a"))
    stream = made.submit(job(max_tokens=10, sampling=Sampling(seed=7)), now=0.0)
    (begin,) = started(made)
    made.pulled(begin.load, [says(begin, 1, 4, 5, held="x")], 0.0)
    newer = made.submit(job("new"), now=1.0)
    made.update(routes(route("a"), route("b", capacity=Capacity(1000, 4000, 1))), 1.0)
    made.lost(begin.load, ReplicaLost("gone"), 1.0)
    (again,) = started(made, 1.0)
    assert (again.stream, again.load.route.replica_id) == (stream, "b")
    assert again.job.resume is not None
    assert (again.job.resume.tokens, again.job.resume.held, again.job.sampling.seed) == ((4, 5), "x", 9)
    assert again.job.key != begin.job.key
    made.pulled(begin.load, [says(begin, 2, 9)], 1.0)  # late news
    made.pulled(again.load, [says(again, 1, 6), says(again, 2, finish=Finish.STOP)], 2.0)
    assert (stream.tokens, stream.resumes, stream.settled) == ([4, 5, 6], 1, True)
    assert [b.stream for b in made.begins(2.0)] == [newer]


def test_what_had_not_begun_to_answer_begins_anew() -> None:
    made = router(route("a"), route("b"))
    stream = made.submit(job(), now=0.0)
    (begin,) = made.begins(0.0)
    made.begun(begin, ReplicaLost("gone"), 0.0)
    (again,) = made.begins(0.0)
    assert again.load is not begin.load
    assert again.job.resume is None
    assert stream.resumes == 0


def test_an_answer_that_replicas_die_with_runs_alone_and_is_failed_in_the_end() -> None:
    made = router(route("a", 1))
    stream = made.submit(job(), now=0.0)
    beside = made.submit(job("other"), now=0.0)
    for epoch in range(1, CRASHES + 2):
        made.update(routes(route("a", epoch)), 0.0)
        begins = started(made)
        assert [b.stream for b in begins] == ([stream, beside] if epoch <= 2 else [stream])
        if epoch == 2:
            made.pulled(begins[1].load, [says(begins[1], 1, 1, finish=Finish.STOP)], 0.0)
        made.lost(begins[0].load, ReplicaLost("gone"), 0.0)
    assert isinstance(stream.error, EngineError)
    assert beside.error is None


def test_nobody_begins_beside_one_that_runs_alone() -> None:
    made = router(route("a", 1))
    suspect = made.submit(job(), now=0.0)
    for epoch in (1, 2):
        made.update(routes(route("a", epoch)), 0.0)
        (begin,) = started(made)
        made.lost(begin.load, ReplicaLost("gone"), 0.0)
    made.update(routes(route("a", 3)), 0.0)
    made.submit(job("other"), now=0.0)
    assert [b.stream for b in made.begins(0.0)] == [suspect]


def test_a_replica_that_does_not_answer_is_told_to_end_what_it_has() -> None:
    made = router(route("a"), route("b"))
    stream = made.submit(job(), now=0.0)
    (begin,) = started(made)
    made.lost(begin.load, EngineError("no answer"), 0.0)
    assert made.take_cancels() == [(begin.load.route, begin.job.key)]
    assert stream.crashes == 0
    (again,) = started(made)
    assert again.load is not begin.load
    assert made.probes(0.5) == []
    assert made.probes(1.0) == [begin.load]
    made.probed(begin.load, True, 1.0)
    assert not begin.load.ejected


def test_a_busy_replica_is_left_alone_for_a_moment() -> None:
    made = router(route("a"))
    made.submit(job(), now=0.0)
    (begin,) = made.begins(0.0)
    made.begun(begin, ReplicaBusy("full"), 0.0)
    assert made.begins(0.0) == []
    assert made.wake_at(0.0) == BUSY_PAUSE
    assert len(made.begins(BUSY_PAUSE)) == 1


def test_the_callers_own_error_ends_it_and_no_breaker_opens() -> None:
    made = router(route("a"))
    streams = [made.submit(job(f"j{n}"), now=0.0) for n in range(20)]
    while begins := made.begins(0.0):
        for begin in begins:
            made.begun(begin, InvalidItem("too long"), 0.0)
    assert {type(stream.error) for stream in streams} == {InvalidItem}
    assert not made.loads[ReplicaId("a")].breaker.is_open


def test_an_engines_error_is_tried_elsewhere_and_told_in_the_end() -> None:
    made = router(route("a"), route("b"))
    stream = made.submit(job(), now=0.0)
    seen = []
    for _ in range(TRIES + 1):
        (begin,) = started(made)
        seen.append(begin.load.route.replica_id)
        made.pulled(begin.load, [Emission(begin.job.key, 1, error=EngineError("broken"))], 0.0)
    assert isinstance(stream.error, EngineError)
    assert seen[0] != seen[1] != seen[2]


def test_who_hangs_up_ends_it_where_it_runs_or_in_the_queue() -> None:
    made = router(route("a", capacity=Capacity(1000, 4000, 1)))
    running, waiting = made.submit(job("one"), now=0.0), made.submit(job("two"), now=0.0)
    (begin,) = started(made)
    made.drop(waiting, 0.0)
    made.drop(running, 0.0)
    assert made.take_cancels() == [(begin.load.route, begin.job.key)]
    assert made.idle()
    made.begun(begin, 10, 0.0)  # the word that it had begun was on its way
    assert made.take_cancels() == [(begin.load.route, begin.job.key)]


def test_a_replica_that_leaves_ends_what_it_has_and_takes_no_more() -> None:
    made = router(route("a"))
    stream = made.submit(job(), now=0.0)
    (begin,) = started(made)
    made.update(routes(route("b")), 0.0)
    assert made.pulling() == [begin.load]
    made.submit(job("two"), now=0.0)
    assert where(made.begins(0.0)) == ["b"]
    made.pulled(begin.load, [says(begin, 1, 1, finish=Finish.STOP)], 0.0)
    assert stream.error is None
    assert begin.load not in made.pulling()


def test_a_replica_that_comes_back_in_the_same_life_is_the_same() -> None:
    made = router(route("a"))
    made.submit(job(), now=0.0)
    (begin,) = started(made)
    made.update(routes(route("b")), 0.0)
    made.update(routes(route("a"), route("b")), 0.0)
    assert made.loads[ReplicaId("a")] is begin.load


def test_another_life_means_that_the_one_before_is_dead() -> None:
    made = router(route("a", 1))
    stream = made.submit(job(), now=0.0)
    (begin,) = started(made)
    made.pulled(begin.load, [says(begin, 1, 3)], 0.0)
    made.update(routes(route("a", 2)), 0.0)
    (again,) = started(made)
    assert again.load is not begin.load
    assert again.stream is stream
    assert again.job.resume is not None


def chat(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": tuple({"role": roles[n % 2], "content": text} for n, text in enumerate(said)), "prompt": ""}


def end(made: StreamRouter, begin: Begin) -> None:
    made.pulled(begin.load, [says(begin, 1, 1, finish=Finish.STOP)], 0.0)


def test_a_conversation_goes_back_to_its_replica_unless_that_is_clearly_busier() -> None:
    made = router(route("a"), route("b"))
    made.submit(job("filler"), now=0.0)
    (filler,) = started(made)
    made.submit(job("one", **chat("hello there")), now=0.0)
    (first,) = started(made)
    end(made, first)
    end(made, filler)
    home = first.load.route.replica_id
    assert home == "b", "where work is equal the first is taken"
    for turn in (("hello there", "hi", "and you?"), ("hello there", "hi", "and you?", "fine", "good")):
        made.submit(job(str(turn), **chat(*turn)), now=0.0)
        (begin,) = started(made)
        assert begin.load.route.replica_id == home
        end(made, begin)
    busy = [made.submit(job(f"busy{n}", max_tokens=400, **chat("hello there", "hi", str(n))), now=0.0) for n in range(3)]
    placed = where(made.begins(0.0))
    assert placed[0] == home
    assert len(set(placed)) == 2, "three long answers beside each other do not stay on one replica"
    assert len(busy) == 3


def test_between_keys_the_queue_is_fair() -> None:
    made = router(route("a", capacity=Capacity(1000, 4000, 4)))
    for number in range(10):
        made.submit(job(f"many{number}"), now=0.0, key="many")
    for number in range(2):
        made.submit(job(f"few{number}"), now=1.0, key="few")
    assert [begin.stream.key for begin in made.begins(1.0)] == ["many", "few", "many", "few"]


def test_small_ones_pass_a_large_one_for_a_while_and_no_longer() -> None:
    made = router(route("a", capacity=Capacity(1000, 1000, 16)))
    made.submit(job("running", max_tokens=500), now=0.0)
    started(made)
    large = made.submit(job("large", max_tokens=900), now=0.0)
    small = made.submit(job("small", max_tokens=10), now=0.0)
    assert [begin.stream for begin in made.begins(PATIENCE / 2)] == [small]
    made.submit(job("later", max_tokens=10), now=PATIENCE)
    assert made.begins(PATIENCE + 1) == []
    assert not large.settled


def test_a_full_queue_says_when_to_come_again() -> None:
    made = router(route("a", capacity=Capacity(1000, 4000, 1)), limits=Limits(queued_requests=2))
    for number in range(2):
        made.submit(job(f"j{number}"), now=0.0)
    with pytest.raises(TooManyRequests) as refused:
        made.submit(job("one too many"), now=0.0)
    assert refused.value.retry_after


def test_work_waits_for_a_replica_and_not_for_ever() -> None:
    made = router(route("a"))
    stream = made.submit(job(), now=0.0)
    (begin,) = started(made)
    made.lost(begin.load, ReplicaLost("gone"), 1.0)
    made.update(routes(starting=1), 1.0)
    assert made.begins(1.0) == []
    assert made.wake_at(1.0) == 31.0
    made.tick(30.9)
    assert not stream.settled
    made.tick(31.0)
    assert isinstance(stream.error, ModelLoading)


def test_a_stopped_model_takes_nothing_and_fails_what_waits() -> None:
    made = router(route("a", capacity=Capacity(1000, 4000, 1)))
    made.submit(job("runs"), now=0.0)
    waits = made.submit(job("waits"), now=0.0)
    (begin,) = started(made)
    made.update(routes(route("a"), closing=True), 0.0)
    with pytest.raises(ModelNotFound):
        made.submit(job("late"), now=0.0)
    end(made, begin)
    assert [each.stream for each in made.begins(0.0)] == [waits]


def test_a_sleeping_model_is_woken_or_says_that_it_cannot_be() -> None:
    made = StreamRouter("m", limits=Limits(), hold=30.0, wake=120.0)
    made.update(routes(asleep=True), 0.0)
    stream = made.submit(job(), now=0.0)
    assert made.wants_waking
    made.not_woken(ModelLoading("no"), 0.0)
    assert isinstance(stream.error, ModelLoading)
    assert not made.wants_waking


def test_what_is_left_of_an_answer_is_its_work() -> None:
    stream = Stream(job(max_tokens=100), estimate=50, arrived=0.0)
    assert stream.left == 150
    stream.take(Emission("j", 1, (1, 2), "ab", prompt_tokens=40))
    assert stream.left == 98
    assert stream.wants(FOUR) == 140
    assert Stream(job(max_tokens=None), 50, 0.0).wants(FOUR) == 1000
