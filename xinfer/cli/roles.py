"""The processes of a server command, as roles for its launcher."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xinfer.processes.counts import shared_counts
from xinfer.processes.launcher import Announced, Launcher, Role
from xinfer.processes.logs import configure_logging
from xinfer.processes.spawn import ProcessSpec
from xinfer.settings import Home, ServerSettings, WorkerSettings, dump

CONTROL = "control"
WORKER = "worker"
Environment = Mapping[str, str | None]
CONTROL_TARGET = "xinfer.actors.control_main:main"
WORKER_TARGET = "xinfer.actors.worker_main:main"
API_TARGET = "xinfer.api.main:main"


def environment(home: Home, token: str) -> Environment:
    """What children get beside this process's own variables."""
    return {"XOSCAR_AUTH_KEY": token, "XINFER_HOME": str(home.root), "XINFER_MODEL_CACHE": str(home.model_cache)}


def control_role(settings: ServerSettings, env: Environment) -> Role:
    """The control process; restarted on the address it had."""

    def spec(announced: Announced) -> ProcessSpec:
        payload: dict[str, Any] = {"settings": dump(settings)}
        if CONTROL in announced:
            payload["port"] = int(str(announced[CONTROL]["address"]).rpartition(":")[2])
        return _process(CONTROL_TARGET, payload, CONTROL, env)

    return Role(CONTROL, spec)


def api_roles(settings: ServerSettings, rest: socket.socket, env: Environment) -> list[Role]:
    """The API processes, all on the one REST socket."""
    counts = (shared_counts(settings.api_processes),) if settings.api_processes > 1 else ()

    def role(index: int) -> Role:
        name = f"api-{index}"

        def spec(announced: Announced) -> ProcessSpec:
            payload = {
                "settings": dump(settings),
                "fd": rest.fileno(),
                "counts": counts[0] if counts else None,
                "index": index,
                "control": announced[CONTROL]["address"],
                "name": name,
            }
            return _process(API_TARGET, payload, name, env, (rest.fileno(), *counts))

        return Role(name, spec)

    return [role(index) for index in range(settings.api_processes)]


def worker_role(settings: WorkerSettings, env: Environment) -> Role:
    """The worker process; under one launcher with the control process it is told the address, else it asks the endpoint."""

    def spec(announced: Announced) -> ProcessSpec:
        known = str(announced[CONTROL]["address"]) if CONTROL in announced else settings.control_address
        payload = {"settings": dump(replace(settings, control_address=known))}
        return _process(WORKER_TARGET, payload, WORKER, env)

    return Role(WORKER, spec)


def _process(target: str, payload: Mapping[str, Any], name: str, env: Environment, pass_fds: tuple[int, ...] = ()) -> ProcessSpec:
    # XINFER_PROCESS tells people and tools which of ours a process is.
    return ProcessSpec(target, payload, name, {**env, "XINFER_PROCESS": target}, pass_fds=pass_fds)


def run(roles: Sequence[Role], log_level: str, greet: Callable[[Announced], None]) -> int:
    """Run the roles until a signal; ``greet`` once, when the last of them is ready for the first time."""
    configure_logging(log_level)
    announced: dict[str, Mapping[str, Any]] = {}

    def on_ready(name: str, facts: Mapping[str, Any]) -> None:
        greeted = len(announced) == len(roles)
        announced[name] = facts
        if not greeted and len(announced) == len(roles):
            greet(announced)

    return asyncio.run(Launcher(roles, on_ready, alone=True).run())
