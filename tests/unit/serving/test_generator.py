"""Generator: many answers at once, pulls, back-pressure, hang-ups, health, the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.sleeper import Sleeper, SleeperEngine, answer_to
from tests.unit.serving.fakes import context
from xinfer.cluster.capacity import Capacity
from xinfer.errors import EngineError, InvalidItem, ReplicaBusy, ReplicaLost
from xinfer.generation.job import Emission, Finish, GenerationJob, Resume
from xinfer.serving import generator
from xinfer.serving.generator import Generator

pytestmark = pytest.mark.timeout(60)

Make = Callable[[Sleeper], "asyncio.Future[Generator]"]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Generators around a sleeping model, closed at the end."""
    made: list[Generator] = []

    async def build(model: Sleeper) -> Generator:
        made.append(await Generator.load(SleeperEngine(model), context()))
        return made[-1]

    yield build  # type: ignore[misc]
    for each in made:
        assert await each.close()
        assert each.model.closed  # type: ignore[attr-defined]


def job(key: str, prompt: str = "hello", tokens: int = 20, **more: object) -> GenerationJob:
    return GenerationJob(key, prompt=prompt, max_tokens=tokens, **more)  # type: ignore[arg-type]


async def read(server: Generator, caller: str, keys: list[str]) -> dict[str, list[Emission]]:
    """Pull until all of them have ended."""
    got: dict[str, list[Emission]] = {key: [] for key in keys}
    seen = dict.fromkeys(keys, 0)
    while seen:
        for emission in await server.pull(caller, seen, 5.0):
            got[emission.key].append(emission)
            seen[emission.key] = emission.number
            if emission.last:
                del seen[emission.key]
    return got


def text(emissions: list[Emission]) -> str:
    return "".join(emission.text for emission in emissions)


async def test_answers_of_several_callers_come_whole(make: Make) -> None:
    server = await make(Sleeper())
    keys = [f"k{n}" for n in range(8)]
    lengths = await asyncio.gather(*(server.begin(f"caller{n % 2}", job(key, prompt=key * 3)) for n, key in enumerate(keys)))
    assert lengths == [6] * 8
    got = {**await read(server, "caller0", keys[::2]), **await read(server, "caller1", keys[1::2])}
    for key in keys:
        assert text(got[key]) == answer_to(key * 3, 20)
        assert got[key][0].prompt_tokens == 6
        assert got[key][-1].finish is Finish.LENGTH
    assert server.progress.answers == 8
    assert server.progress.tokens == 8 * 20
    assert server.progress.prompt_tokens == 8 * 6
    assert server.holds() == 0


async def test_a_prompt_that_can_never_fit_and_one_that_cannot_now(make: Make) -> None:
    gate = threading.Event()
    gate.set()
    model = Sleeper(Capacity(context_tokens=100, kv_tokens=150, places=4), gate=gate)
    server = await make(model)
    gate.clear()
    with pytest.raises(InvalidItem, match="the prompt has 100 tokens"):
        await server.begin("c", job("long", prompt="x" * 100))
    await server.begin("c", job("first", prompt="x" * 90, tokens=1000))
    assert server.holds() == 100
    with pytest.raises(ReplicaBusy):
        await server.begin("c", job("second", prompt="x" * 40, tokens=11))
    await server.begin("c", job("third", prompt="x" * 40, tokens=10))
    gate.set()
    got = await read(server, "c", ["first", "third"])
    assert len(text(got["first"])) == 10
    assert got["first"][-1].finish is Finish.LENGTH


async def test_an_unreadable_prompt_fails_alone(make: Make) -> None:
    server = await make(Sleeper())
    with pytest.raises(InvalidItem):
        await server.begin("c", job("bad", prompt="\0"))
    await server.begin("c", job("good"))
    assert text((await read(server, "c", ["good"]))["good"]) == answer_to("hello", 20)
    await asyncio.wait_for(server.drained(), 5)


async def test_it_goes_on_from_what_was_delivered(make: Make) -> None:
    server = await make(Sleeper())
    whole = answer_to("hello", 20)
    await server.begin("c", job("a"))
    first = (await read(server, "c", ["a"]))["a"][:7]
    tokens = tuple(token for emission in first for token in emission.tokens)
    await server.begin("c", job("a").going_on("b", Resume(tokens)))
    rest = (await read(server, "c", ["b"]))["b"]
    assert text(first) + text(rest) == whole
    assert rest[0].prompt_tokens == 5


async def test_a_stop_string_ends_it_in_the_engine_too(make: Make) -> None:
    model = Sleeper()
    server = await make(model)
    whole = answer_to("hello", 20)
    await server.begin("c", job("a", tokens=500, stops=(whole[8:11],)))
    got = (await read(server, "c", ["a"]))["a"]
    assert text(got) == whole[: whole.index(whole[8:11])]
    assert got[-1].finish is Finish.STOP
    await asyncio.wait_for(server.drained(), 5)
    assert model.cancelled == ["a"]


async def test_a_cancelled_answer_ends_within_a_step_and_frees_its_room(make: Make) -> None:
    gate = threading.Event()
    gate.set()
    model = Sleeper(gate=gate)
    server = await make(model)
    gate.clear()
    await server.begin("c", job("a", tokens=900))
    before = model.steps
    server.cancel(["a", "unknown"])
    gate.set()
    await asyncio.wait_for(server.drained(), 5)
    await server.begin("c", job("b", tokens=2))
    await read(server, "c", ["b"])
    assert model.cancelled == ["a"]
    assert model.steps - before <= 1 + 2
    assert server.progress.cancelled_answers == 1


async def test_who_does_not_pull_has_hung_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "LEASE", 0.05)
    gate = threading.Event()
    gate.set()
    model = Sleeper(gate=gate, step_seconds=0.005)
    server = await make(model)
    await server.begin("gone", job("a", tokens=900))
    await server.begin("here", job("b", tokens=40))
    got = await read(server, "here", ["b"])
    assert text(got["b"]) == answer_to("hello", 40)
    await asyncio.wait_for(server.drained(), 5)
    assert model.cancelled == ["a"]


async def test_a_newer_pull_overtakes_the_one_that_waits(make: Make) -> None:
    server = await make(Sleeper())
    old = asyncio.create_task(server.pull("c", {}, 30.0))
    await asyncio.sleep(0)
    new = asyncio.create_task(server.pull("c", {"a": 0}, 30.0))
    assert await asyncio.wait_for(old, 5) == ()
    await server.begin("c", job("a", tokens=1))
    (emission,) = await asyncio.wait_for(new, 5)
    assert emission.key == "a"


async def test_an_empty_pull_ends_by_the_clock(make: Make) -> None:
    server = await make(Sleeper())
    assert await asyncio.wait_for(server.pull("c", {}, 0.01), 5) == ()


async def test_pulls_of_a_fast_model_are_few(make: Make) -> None:
    server = await make(Sleeper(step_seconds=0.001))
    await server.begin("c", job("a", tokens=200))
    pulls, seen, began = 0, {"a": 0}, time.perf_counter()
    while seen:
        pulls += 1
        for emission in await server.pull("c", seen, 5.0):
            seen = {} if emission.last else {"a": emission.number}
    assert pulls <= 3 + (time.perf_counter() - began) / generator.GATHER


@pytest.mark.parametrize(("error", "told"), [(RuntimeError("oops"), EngineError), (ReplicaLost("the engine died"), ReplicaLost)])
async def test_a_step_that_fails_ends_what_was_there(make: Make, error: Exception, told: type[Exception]) -> None:
    gate = threading.Event()
    gate.set()
    model = Sleeper(gate=gate)
    server = await make(model)
    gate.clear()
    await server.begin("c", job("a"))
    model.broken = error
    gate.set()
    got = (await read(server, "c", ["a"]))["a"]
    assert isinstance(got[-1].error, told)
    model.broken = None
    if told is ReplicaLost:
        with pytest.raises(ReplicaLost):
            await server.begin("c", job("b"))
        with pytest.raises(ReplicaLost):
            await server.health()
    else:
        assert model.cancelled == ["a"]
        await server.health()


async def test_health_generates_a_token_and_sees_a_stall(make: Make) -> None:
    gate = threading.Event()
    gate.set()
    model = Sleeper(gate=gate)
    server = await make(model)
    await server.health(timeout=5)
    gate.clear()
    with pytest.raises(EngineError, match="not generated within"):
        await server.health(timeout=0.05)
    await server.begin("c", job("a"))
    await server.health(timeout=0.05)  # busy, not dead
    with pytest.raises(EngineError, match="nothing came"):
        await server.health(timeout=0.05, stall_seconds=-1)
    gate.set()


async def test_closing_tells_everyone(make: Make) -> None:
    gate = threading.Event()
    gate.set()
    model = Sleeper(gate=gate)
    server = await make(model)
    gate.clear()
    await server.begin("c", job("a"))
    pull = asyncio.create_task(server.pull("c", {"a": 0}, 30.0))
    await server.close()
    (emission,) = await asyncio.wait_for(pull, 5)
    assert isinstance(emission.error, ReplicaLost)
    with pytest.raises(ReplicaLost):
        await server.begin("c", job("b"))


async def test_a_model_that_does_not_generate_is_not_loaded(tmp_path: Path) -> None:
    model = Sleeper(broken=EngineError("no"))
    with pytest.raises(EngineError):
        await Generator.load(SleeperEngine(model), context())
