"""What the children of these tests run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from xinfer.errors import ConfigError, SourceError
from xinfer.processes.child import Child
from xinfer.processes.entry import Announce
from xinfer.processes.launcher import Launcher, Role
from xinfer.processes.runtime import run
from xinfer.processes.spawn import ProcessSpec, become, spawn
from xinfer.processes.torch_gate import allow_torch

Payload = dict[str, Any]


def describe(payload: Payload, announce: Announce) -> int:
    """Report what this process was started with, then end."""
    print("on stdout")
    sys.stderr.write("on stderr\n")
    announce(
        {
            "payload": payload,
            "pid": os.getpid(),
            "cores": sorted(os.sched_getaffinity(0)),
            "env": dict(os.environ),
            "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")},
            "grandchild_fds": subprocess.run(
                ["ls", "/proc/self/fd"], check=True, capture_output=True, text=True, close_fds=False
            ).stdout.split(),
            "torch": repr(sys.modules.get("torch", "absent")),
            "xoscar_dir_mode": os.stat(os.environ["XOSCAR_DIR"]).st_mode & 0o777,
        }
    )
    return 7


def crash(payload: Payload, announce: Announce) -> None:
    raise ValueError("three wheels")


def refuse(payload: Payload, announce: Announce) -> None:
    raise ConfigError("--wheels must be 4, not 3.")


def fail(payload: Payload, announce: Announce) -> None:
    raise SourceError("No such wheel.")


def fail_late(payload: Payload, announce: Announce) -> None:
    announce({})
    raise SourceError("The wheel came off.")


def die(payload: Payload, announce: Announce) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def announce_twice(payload: Payload, announce: Announce) -> None:
    announce({})
    announce({})


def silent(payload: Payload, announce: Announce) -> None:
    signal.pause()


def polite(payload: Payload, announce: Announce) -> int:
    """Serve until told to stop, then say so in a file."""

    async def main(stop: asyncio.Event) -> int:
        announce({"pid": os.getpid(), "loop": type(asyncio.get_running_loop()).__module__, **payload.get("facts", {})})
        await stop.wait()
        if "log" in payload:
            with Path(payload["log"]).open("a") as file:
                file.write(payload["name"] + "\n")
        return int(payload.get("status", 0))

    return run(main)


def stubborn(payload: Payload, announce: Announce) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    announce({"pid": os.getpid()})
    while True:
        time.sleep(60)


def with_child(payload: Payload, announce: Announce) -> None:
    """A grandchild that knows of no parent-death signal, in this process's group; if asked, another in no group of ours, and a daemon."""
    grandchild = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    facts = {"grandchild": grandchild.pid}
    if payload.get("strays"):
        facts["stray"] = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True).pid
        said = subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True)
        facts["daemon"] = int(said.stdout)
    if payload.get("unseen"):
        grandchild.kill()
        grandchild.wait()
        os.kill(facts["daemon"], signal.SIGKILL)
    announce(facts)
    signal.pause()


def chain(payload: Payload, announce: Announce) -> int:
    """A process of ours below a process of ours, ``depth`` deep."""

    async def main(stop: asyncio.Event) -> None:
        pids = [os.getpid()]
        if payload["depth"]:
            child = spawn(ProcessSpec("tests.unit.processes.targets:chain", {"depth": payload["depth"] - 1}, f"chain-{payload['depth']}"))
            pids += (await child.ready(30))["pids"]
        announce({"pids": pids})
        await stop.wait()

    return run(main)


def fail_first(payload: Payload, announce: Announce) -> int:
    """Crash in the first ``lives`` lives, counted in a file; then be polite."""
    marks = Path(payload["marks"])
    with marks.open("a") as file:
        file.write("x")
    if len(marks.read_text()) <= payload["lives"]:
        raise ValueError("not yet")
    return polite(payload, announce)


def torch_after_xoscar(payload: Payload, announce: Announce) -> None:
    import xoscar  # noqa: F401

    blocked = sys.modules["torch"] is None and not any(name.startswith("torch.") for name in sys.modules)
    try:
        allow_torch()
        import torch

        version: str | None = str(torch.__version__)
    except RuntimeError:
        version = None
    announce({"blocked": blocked, "version": version})


def pool(payload: Payload, announce: Announce) -> int:
    """A real actor pool with one actor."""
    import xoscar as xo

    class Echo(xo.StatelessActor):
        async def echo(self, text: str) -> str:
            return text

    async def main(stop: asyncio.Event) -> None:
        actors = await xo.create_actor_pool("127.0.0.1:0", n_process=0)
        async with actors:
            ref = await xo.create_actor(Echo, address=actors.external_address, uid="echo")
            announce({"address": actors.external_address, "echo": await ref.echo("hello"), "dir": os.environ["XOSCAR_DIR"]})
            await stop.wait()

    return run(main)


def ask_pool(payload: Payload, announce: Announce) -> int:
    """Call the actor of a pool elsewhere."""
    import xoscar as xo

    async def main(stop: asyncio.Event) -> None:
        ref = await xo.actor_ref(address=payload["address"], uid="echo")
        announce({"echo": await ref.echo("across")})

    return run(main)


def mark(payload: Payload, announce: Announce) -> None:
    """Which ``annotated_types`` this process sees."""
    import annotated_types

    if "also" in payload:
        __import__(payload["also"])
    announce({"mark": getattr(annotated_types, "MARK", "base")})


def launching(payload: Payload, announce: Announce) -> int:
    """A launcher of its own with one role."""
    said: list[Any] = []

    def on_ready(name: str, facts: Any) -> None:
        if not said:
            announce(dict(facts))
        said.append(name)

    role = Role("role", lambda _: ProcessSpec("tests.unit.processes.targets:over_a_replica", payload, "role"))
    return asyncio.run(Launcher([role], on_ready, alone=True).run())


def over_a_replica(payload: Payload, announce: Announce) -> int:
    """As a worker is over a replica whose engine has a child."""

    async def main(stop: asyncio.Event) -> None:
        below = spawn(ProcessSpec("tests.unit.processes.targets:with_child", {"strays": True, **payload}, "below"))
        announce({"role": os.getpid(), "below": below.pid, **await below.ready(30)})
        await stop.wait()

    return run(main)


def turn(payload: Payload, announce: Announce) -> None:
    """Start a child, then become another target."""
    child = spawn(ProcessSpec("tests.unit.processes.targets:silent", {}, "below"))
    given = os.open(payload["given"], os.O_RDONLY)
    os.set_inheritable(os.open(payload["given"], os.O_RDONLY), True)  # one that nobody asked to keep
    announce({"pid": os.getpid(), "below": child.pid})
    facts = {"below": child.pid, "given": given, "file": payload["file"], "leave": payload.get("leave", False)}
    become(ProcessSpec("tests.unit.processes.targets:turned", facts, "turned", {"XINFER_TEST_TURNED": "1"}, pass_fds=(given,)))


def turned(payload: Payload, announce: Announce) -> int:
    """Tell what is left, end what the former image started, and serve."""

    async def main(stop: asyncio.Event) -> int:
        fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}
        below = Child.inherited("below", payload["below"], Path("/dev/null"), 0)
        announce({})
        before = below.exit_code
        if payload["leave"]:
            await stop.wait()
            return 0
        below.terminate()
        facts = {
            "pid": os.getpid(),
            "env": os.environ["XINFER_TEST_TURNED"],
            "given": fds[str(payload["given"])],
            "files": sorted(fds.values()),
            "before": before,
            "after": await below.wait(),
        }
        draft = Path(payload["file"] + ".new")
        draft.write_text(json.dumps(facts))
        draft.rename(payload["file"])
        await stop.wait()
        return 5

    return run(main)


def turn_into_nothing(payload: Payload, announce: Announce) -> None:
    """An interpreter that is not there: go on as before."""
    try:
        become(ProcessSpec("tests.unit.processes.targets:turned", {}, "turned", python=Path("/no/such/python")))
    except OSError as error:
        announce({"error": type(error).__name__})
