"""Real children: what they are given, how they say that they are ready, how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from tests.unit.processes.conftest import TARGETS, gone
from xinfer.errors import DeadlineExceeded, LaunchFailed
from xinfer.processes.child import Child, kill_tree
from xinfer.processes.spawn import ProcessSpec, spawn

Start = Callable[..., Child]


async def test_a_child_gets_its_payload_cores_environment_and_files(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINFER_TEST_REMOVED", "1")
    monkeypatch.setenv("XINFER_TEST_KEPT", "1")
    core = max(os.sched_getaffinity(0))
    log = tmp_path / "logs" / "child.log"
    payload = {"text": "ü" * 1_000_000}  # more than any pipe holds
    child = start(
        "describe", payload, cores=(core,), stderr=log, env={"XINFER_TEST_REMOVED": None, "CUDA_VISIBLE_DEVICES": "SIM-1"}, name="it"
    )
    facts = await child.ready(30)
    assert await child.wait() == 7
    assert facts["payload"] == payload
    assert facts["pid"] == child.pid
    assert facts["cores"] == [core]
    assert "XINFER_TEST_REMOVED" not in facts["env"]
    assert facts["env"]["XINFER_TEST_KEPT"] == "1"
    assert facts["env"]["CUDA_VISIBLE_DEVICES"] == "SIM-1"
    assert facts["torch"] == "None"
    assert set(child.stderr_tail().splitlines()) == {"on stdout", "on stderr"}
    assert log.stat().st_mode & 0o077 == 0


async def test_stderr_is_appended_and_the_tail_is_of_this_life(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    log.write_text("of an earlier life\n")
    child = start("crash", stderr=log)
    await child.wait()
    assert log.read_text().startswith("of an earlier life\n")
    assert "earlier" not in child.stderr_tail()
    assert child.stderr_tail(1) == "ValueError: three wheels"


async def test_no_descriptor_leaks_into_the_child_or_below_it(start: Start, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as leaky, (tmp_path / "given").open("w") as given:
        passed = given.fileno()
        os.set_inheritable(leaky.fileno(), True)
        child = start("describe", pass_fds=(passed,), stderr=tmp_path / "log")
        facts = await child.ready(30)
    targets: dict[str, str] = facts["fds"]
    assert targets["0"] == "/dev/null"
    assert targets[str(passed)] == str(tmp_path / "given")
    others = {path for fd, path in targets.items() if int(fd) > 2 and fd != str(passed)}
    announce, lock = sorted(others, key=lambda path: path.endswith(".lock"))
    assert announce.startswith("pipe:")
    assert lock == facts["env"]["XOSCAR_DIR"] + ".lock"
    # 3 is ls reading the folder.
    assert facts["grandchild_fds"] == ["0", "1", "2", "3"]


async def test_sockets_live_in_a_private_folder_that_goes_with_the_process(start: Start) -> None:
    child = start("describe")
    facts = await child.ready(30)
    await child.wait()
    assert facts["xoscar_dir_mode"] == 0o700
    assert not Path(facts["env"]["XOSCAR_DIR"]).exists()


@pytest.mark.parametrize(
    ("target", "code", "sentence"),
    [
        ("crash", 1, "crash ended with exit code 1 before it was ready: ValueError: three wheels"),
        ("refuse", 2, "--wheels must be 4, not 3."),
        ("fail", 1, "No such wheel."),
        ("die", -9, "die ended with signal SIGKILL before it was ready."),
    ],
)
async def test_one_that_ends_before_it_is_ready(start: Start, tmp_path: Path, target: str, code: int, sentence: str) -> None:
    child = start(target, stderr=tmp_path / "log")
    with pytest.raises(LaunchFailed) as failure:
        await child.ready(30)
    assert failure.value.message == sentence
    assert failure.value.details["exit_code"] == code
    assert child.exit_code == code


async def test_a_failed_one_hands_over_its_traceback_and_error_code(start: Start, tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed) as crashed:
        await start("crash", stderr=tmp_path / "log").ready(30)
    assert "Traceback" in crashed.value.details["stderr_tail"]
    with pytest.raises(LaunchFailed) as failed:
        await start("fail").ready(30)
    assert failed.value.details["reason_code"] == "source_error"


async def test_an_error_after_ready_goes_to_stderr(start: Start, tmp_path: Path) -> None:
    child = start("fail_late", stderr=tmp_path / "log")
    await child.ready(30)
    assert await child.wait() == 1
    assert child.stderr_tail() == "fail_late: The wheel came off."


async def test_announcing_twice_is_a_fault(start: Start, tmp_path: Path) -> None:
    child = start("announce_twice", stderr=tmp_path / "log")
    await child.ready(30)
    assert await child.wait() == 1
    assert "announces itself once" in child.stderr_tail()


async def test_unknown_cores_are_refused_in_a_sentence(start: Start) -> None:
    with pytest.raises(LaunchFailed, match="must be among those this process may use"):
        await start("describe", cores=(4093,)).ready(30)


async def test_a_silent_one_meets_the_deadline_and_lives(start: Start) -> None:
    child = start("silent")
    with pytest.raises(DeadlineExceeded, match=r"silent \(pid \d+\) was not ready within 0\.2 s"):
        await child.ready(0.2)
    assert child.exit_code is None
    child.kill()
    assert await child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("pidfd", [True, False])
def test_sigterm_ends_cleanly_in_either_loop_with_and_without_pidfd(
    start: Start, monkeypatch: pytest.MonkeyPatch, factory: Callable[[], asyncio.AbstractEventLoop], pidfd: bool
) -> None:
    def forbidden(pid: int) -> int:
        raise PermissionError(1, "pidfd_open")

    if not pidfd:
        monkeypatch.setattr(os, "pidfd_open", forbidden)

    async def main() -> None:
        child = start("polite", {"status": 3})
        facts = await child.ready(30)
        assert facts["loop"] == "uvloop"
        assert await asyncio.gather(child.stop(10), child.wait()) == [3, 3]
        assert await child.stop(1) == 3

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


async def test_one_that_ignores_sigterm_is_killed_after_its_grace(start: Start, deadline: Callable[[float], None]) -> None:
    child = start("stubborn")
    await child.ready(30)
    assert await child.stop(0.2) == -signal.SIGKILL
    deadline(20)


async def test_what_a_dead_child_leaves_behind_dies_too(start: Start) -> None:
    child = start("with_child")
    grandchild = (await child.ready(30))["grandchild"]
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert gone(grandchild)


async def test_kill_tree_reaches_grandchildren(start: Start) -> None:
    child = start("with_child")
    grandchild = (await child.ready(30))["grandchild"]
    kill_tree(child.pid)
    assert gone(grandchild)
    assert await child.wait() == -signal.SIGKILL
    kill_tree(child.pid)  # no error for one that is gone


async def test_a_chain_dies_with_its_top(start: Start) -> None:
    top = start("chain", {"depth": 2})
    pids: list[int] = (await top.ready(60))["pids"]
    assert len(pids) == 3
    assert all(psutil.pid_exists(pid) for pid in pids)
    os.kill(top.pid, signal.SIGKILL)
    assert all(gone(pid, within=1.0) for pid in pids)


async def test_an_orphan_made_before_its_signal_was_set_ends_itself(tmp_path: Path) -> None:
    """As if the parent had died while the interpreter started: the pid it was told is not its parent's."""
    import sys

    import xinfer.processes.spawn as module

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(module._BOOTSTRAP),
        "orphan",
        "1",
        "0",
        "1",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, errors) == (1, b"")  # at once, before it looks at anything else


def test_only_the_main_thread_spawns() -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            spawn(ProcessSpec(TARGETS + "silent", {}, "never"))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


async def test_a_bad_spec_leaves_no_descriptors(start: Start, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(TypeError):
        start("describe", {"not json": object()}, stderr=tmp_path / "log")
    assert set(os.listdir("/proc/self/fd")) == before


async def test_an_ended_child_leaves_no_descriptors(start: Start, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    child = start("polite", stderr=tmp_path / "log")
    await child.ready(30)
    await child.stop(10)
    unread = start("crash", stderr=tmp_path / "log")
    await unread.wait()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_torch_stays_out_until_it_is_allowed(start: Start) -> None:
    facts: dict[str, Any] = await start("torch_after_xoscar", needs_torch=True).ready(120)
    assert facts["blocked"] is True
    assert facts["version"]


async def test_a_process_without_need_of_torch_never_gets_it(start: Start) -> None:
    facts: dict[str, Any] = await start("torch_after_xoscar").ready(60)
    assert facts == {"blocked": True, "version": None}
