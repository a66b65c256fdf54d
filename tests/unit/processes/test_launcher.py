"""Real roles under a launcher: order, restarts, refusals, signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.processes.conftest import TARGETS, gone
from xinfer.errors import ConfigError
from xinfer.processes import launcher as module
from xinfer.processes.launcher import Announced, Launcher, Role, backoff
from xinfer.processes.spawn import ProcessSpec

InUvloop = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINFER_HOME", str(tmp_path / "home"))


class Watch:
    """Collects what becomes ready and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Mapping[str, Any]]] = []
        self._changed = asyncio.Event()

    def __call__(self, name: str, facts: Mapping[str, Any]) -> None:
        self.seen.append((name, facts))
        self._changed.set()

    async def until(self, count: int) -> None:
        while len(self.seen) < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 30)


def role(name: str, target: str = "polite", **payload: Any) -> Role:
    return Role(name, lambda announced: ProcessSpec(TARGETS + target, {"name": name, **payload}, name))


def test_backoff_grows_to_ten_seconds() -> None:
    assert [backoff(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 100)] == [0, 0.5, 1, 2, 4, 8, 10, 10, 10]


def test_roles_start_in_order_see_each_other_and_stop_in_reverse(in_uvloop: InUvloop, tmp_path: Path) -> None:
    log = tmp_path / "order"
    asked: list[dict[str, Any]] = []

    def second(announced: Announced) -> ProcessSpec:
        asked.append({name: dict(facts) for name, facts in announced.items()})
        return ProcessSpec(TARGETS + "polite", {"name": "api", "log": str(log)}, "api")

    async def main() -> int:
        watch = Watch()
        launcher = Launcher([role("control", log=str(log), facts={"address": "127.0.0.1:1"}), Role("api", second)], watch)
        running = asyncio.create_task(launcher.run())
        await watch.until(2)
        assert [name for name, _ in watch.seen] == ["control", "api"]
        os.kill(os.getpid(), signal.SIGTERM)
        code = await running
        assert all(gone(child.pid) for child in launcher.children.values())
        return code

    assert in_uvloop(main()) == 0
    assert asked[0]["control"]["address"] == "127.0.0.1:1"
    assert log.read_text().split() == ["api", "control"]


def test_a_killed_role_comes_back_with_its_last_announcement_and_its_sibling_stays(in_uvloop: InUvloop) -> None:
    def control(announced: Announced) -> ProcessSpec:
        address = announced.get("control", {}).get("address", "first")
        return ProcessSpec(TARGETS + "polite", {"facts": {"address": address + "'"}}, "control")

    async def main() -> int:
        watch = Watch()
        launcher = Launcher([Role("control", control), role("api")], watch)
        running = asyncio.create_task(launcher.run())
        await watch.until(2)
        os.kill(launcher.children["control"].pid, signal.SIGKILL)
        await watch.until(3)
        (_, first), (_, api), (again, third) = watch.seen
        assert again == "control"
        assert (first["address"], third["address"]) == ("first'", "first''")
        assert first["pid"] != third["pid"]
        assert launcher.children["api"].pid == api["pid"]
        assert launcher.children["api"].exit_code is None
        launcher.request_stop()
        return int(await running)

    assert in_uvloop(main()) == 0


def test_a_refused_configuration_ends_all_with_its_message_and_code_2(
    in_uvloop: InUvloop, capfd: pytest.CaptureFixture[str], deadline: Callable[[float], None]
) -> None:
    async def main() -> int:
        launcher = Launcher([role("control"), role("api", "refuse")])
        code = await launcher.run()
        assert gone(launcher.children["control"].pid)
        return code

    assert in_uvloop(main()) == 2
    assert capfd.readouterr().err.splitlines()[-1] == "Error: --wheels must be 4, not 3."
    deadline(20)


def test_a_role_that_crashes_before_it_was_ever_ready_is_tried_three_times(
    in_uvloop: InUvloop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marks = tmp_path / "marks"
    assert in_uvloop(Launcher([role("control", "fail_first", marks=str(marks), lives=99)]).run()) == 1
    assert marks.read_text() == "xxx"
    assert "Error: control ended with exit code 1 before it was ready" in capfd.readouterr().err


def test_a_role_that_starts_on_its_third_try_is_kept(in_uvloop: InUvloop, tmp_path: Path) -> None:
    async def main() -> int:
        watch = Watch()
        launcher = Launcher([role("control", "fail_first", marks=str(tmp_path / "marks"), lives=2)], watch)
        running = asyncio.create_task(launcher.run())
        await watch.until(1)
        launcher.request_stop()
        return int(await running)

    assert in_uvloop(main()) == 0


def test_one_that_is_not_ready_in_time_counts_as_crashed(in_uvloop: InUvloop, capfd: pytest.CaptureFixture[str]) -> None:
    assert in_uvloop(Launcher([role("control", "silent")], ready_timeout=0.1).run()) == 1
    assert "was not ready within 0.1 s" in capfd.readouterr().err


def test_a_second_signal_kills(in_uvloop: InUvloop, deadline: Callable[[float], None]) -> None:
    async def main() -> int:
        watch = Watch()
        launcher = Launcher([role("api"), role("control", "stubborn")], watch, grace=300)
        running = asyncio.create_task(launcher.run())
        await watch.until(2)
        os.kill(os.getpid(), signal.SIGINT)
        await launcher._stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        code = await running
        assert launcher.children["control"].exit_code == -signal.SIGKILL
        assert all(gone(child.pid) for child in launcher.children.values())
        return code

    assert in_uvloop(main()) == 0
    deadline(60)


def test_a_signal_during_the_start_stops_what_has_started(in_uvloop: InUvloop) -> None:
    async def main() -> int:
        watch = Watch()
        launcher = Launcher([role("control"), role("api", "silent"), role("worker")], watch, grace=10)
        running = asyncio.create_task(launcher.run())
        await watch.until(1)
        while "api" not in launcher.children:
            await asyncio.sleep(0)
        launcher.request_stop()
        code = await running
        assert set(launcher.children) == {"control", "api"}
        assert all(gone(child.pid) for child in launcher.children.values())
        return code

    assert in_uvloop(main()) == 0


def test_a_spec_that_cannot_be_made_stops_the_rest(in_uvloop: InUvloop) -> None:
    def impossible(announced: Announced) -> ProcessSpec:
        raise ConfigError("--port 1 is taken.")

    async def main() -> None:
        launcher = Launcher([role("control"), Role("api", impossible)])
        with pytest.raises(ConfigError, match="taken"):
            await launcher.run()
        assert gone(launcher.children["control"].pid)

    in_uvloop(main())


def test_health_forgets_crashes(in_uvloop: InUvloop, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every life counted as long, the fourth death in a row still restarts at once."""
    monkeypatch.setattr(module, "HEALTHY", 0.0)
    monkeypatch.setattr(module, "BACKOFF", (0.0, 1000.0))

    async def main() -> int:
        watch = Watch()
        launcher = Launcher([role("control")], watch)
        running = asyncio.create_task(launcher.run())
        for life in range(1, 4):
            await watch.until(life)
            os.kill(launcher.children["control"].pid, signal.SIGKILL)
        await watch.until(4)
        launcher.request_stop()
        return int(await running)

    assert in_uvloop(main()) == 0
