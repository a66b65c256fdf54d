"""Private folders: made, held, removed, and swept after a death."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from tests.unit.processes.test_spawn import Start
from xinfer.processes.rundir import RunDir, choose_base


def test_a_folder_is_private_and_unique_and_goes_when_removed(tmp_path: Path) -> None:
    one, two = RunDir(tmp_path), RunDir(tmp_path)
    assert one.path != two.path
    assert one.path.stat().st_mode & 0o777 == 0o700
    one.remove()
    one.remove()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [two.path.name, f"{two.path.name}.lock"]
    two.remove()
    assert list(tmp_path.iterdir()) == []


async def test_the_next_process_sweeps_what_a_killed_one_left(start: Start, tmp_path: Path) -> None:
    child = start("polite")
    await child.ready(30)
    run = Path(os.environ["XINFER_HOME"]) / "run"
    run = run if run.exists() else Path(tempfile.gettempdir()) / f"xinfer-{os.getuid()}"
    (left,) = run.glob(f"{child.pid}-????????")
    survivor = RunDir(run)
    assert left.exists()
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert left.exists()
    third = RunDir(run)
    assert not left.exists()
    assert survivor.path.exists()
    survivor.remove()
    third.remove()


def test_the_base_is_in_the_home_unless_that_is_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="xh") as short:
        assert choose_base({"XINFER_HOME": short}) == Path(short) / "run"
        monkeypatch.setattr(tempfile, "tempdir", f"{short}/t")
        long = tmp_path / ("x" * 60)
        assert choose_base({"XINFER_HOME": str(long)}) == Path(f"{short}/t/xinfer-{os.getuid()}")
        assert choose_base({}) == Path(f"{short}/t/xinfer-{os.getuid()}")


def test_a_base_that_others_may_enter_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="xh") as short:
        (Path(short) / "run").mkdir()
        (Path(short) / "run").chmod(0o777)
        assert choose_base({"XINFER_HOME": short}) != Path(short) / "run"
