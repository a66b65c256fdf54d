"""Rows about the state file: no room to write it, damaged, of a newer version."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from scripts.fault_suite.ground import BACK, facts
from scripts.fault_suite.grounds import Serve
from scripts.fault_suite.row import Row
from tests.support.cluster import until

NEWER = 99
SUFFIXES = ("", "-wal", "-shm")


def disk_full(ground: Serve) -> str:
    """A launch is refused with a clear sentence; what runs goes on; with room again it succeeds."""
    before = ground.ready()
    models = ground.models()
    with ground.load():
        with _filled(ground.home / "filler"):
            reply = _launch(ground, "late")
            assert reply.status_code >= 500, f"launched on a full disk: {reply.status_code} {reply.text}"
            sentence = str(reply.json()["error"]["message"])
            assert "cannot be written" in sentence, f"not clear: {sentence}"
            assert "Nothing was changed" in sentence, f"not clear: {sentence}"
            assert ground.models() == models, f"a launch that was refused is listed: {ground.models()}"
    assert _launch(ground, "late").status_code == 200, "it cannot be launched with room again"
    ground.wait_ready(1, "late")
    ground.cluster.run("stop", "late")
    assert ground.ready() == before, f"{before} became {ground.replicas()}"
    return f"“{sentence}”; launched once there was room"


def truncated(ground: Serve) -> str:
    """The control process does not start on half a file, and leaves it as it is."""

    def damage(path: Path) -> None:
        os.truncate(path, path.stat().st_size // 2)
        for suffix in SUFFIXES[1:]:
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    return _refused(ground, damage, "is damaged")


def newer(ground: Serve) -> str:
    """Nor on a file of a later version."""

    def damage(path: Path) -> None:
        # On a copy: SQLite would look for the path in this process's own mounts.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            for suffix in SUFFIXES:
                if (content := _bytes(path, suffix)) is not None:
                    Path(f"{copy}{suffix}").write_bytes(content)
            with contextlib.closing(sqlite3.connect(copy)) as file:
                file.execute(f"PRAGMA user_version = {NEWER}")
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            path.write_bytes(copy.read_bytes())
        for suffix in SUFFIXES[1:]:
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    return _refused(ground, damage, f"has version {NEWER}")


def _refused(ground: Serve, damage: Callable[[Path], None], sentence: str) -> str:
    before = ground.ready()
    path = ground.home / "state.sqlite3"
    log, said = ground.command.log, ground.command.log.stat().st_size
    with ground.load():
        with _control_away(ground):
            whole = {suffix: _bytes(path, suffix) for suffix in SUFFIXES}
            damage(path)
            broken = _bytes(path, "")
        try:
            until(lambda: sentence in log.read_text()[said:], f"“{sentence}” said", BACK)
            assert {p for p in before.values() if not psutil.pid_exists(p or 0)} == set(), "replicas ended"
            time.sleep(1.0)  # a second try of the launcher must not write either
            assert _bytes(path, "") == broken, "the file was overwritten"
        finally:
            for suffix, content in whole.items():
                place = Path(f"{path}{suffix}")
                place.unlink(missing_ok=True) if content is None else place.write_bytes(content)
        took = ground.wait_same(before)
    line = next(line for line in log.read_text()[said:].splitlines() if sentence in line)
    return f"“{line[line.index('The state file') :].split(':')[0]}”, the file as it was; whole again, {facts(all_adopted_after=took)}"


@contextmanager
def _control_away(ground: Serve) -> Iterator[None]:
    """The control process is dead, and its launcher does not start it yet."""
    launcher = psutil.Process(ground.command.pid)
    launcher.suspend()
    try:
        control = ground.command.child("control_main")
        control.kill()
        until(lambda: control.status() == psutil.STATUS_ZOMBIE, "the control process dead")
        yield
    finally:
        launcher.resume()


@contextmanager
def _filled(filler: Path) -> Iterator[None]:
    """Not a byte of room on the disk of ``filler``."""
    block = b"\0" * 65536
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (len(block), 1):
                with contextlib.suppress(OSError):
                    while file.write(block[:size]):
                        pass
        yield
    finally:
        filler.unlink(missing_ok=True)


def _launch(ground: Serve, uid: str) -> httpx.Response:
    body = {"model_path": str(ground.model), "model_type": "rerank", "model_uid": uid}
    return httpx.post(f"{ground.cluster.url}/v1/models", params={"wait_ready": "false"}, json=body, timeout=120)


def _bytes(path: Path, suffix: str) -> bytes | None:
    try:
        return Path(f"{path}{suffix}").read_bytes()
    except FileNotFoundError:
        return None


ROWS = (
    Row("disk-full", "disk full while launching", "small disk", disk_full),
    Row("state-truncated", "state file truncated", "small disk", truncated, "serve"),
    Row("state-newer", "state file of a newer version", "small disk", newer, "serve"),
)
