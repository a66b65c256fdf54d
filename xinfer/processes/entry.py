"""The second half of a child's start: affinity, torch kept out, a folder for sockets, then the target."""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from xinfer.errors import ConfigError, XinferError
from xinfer.processes.rundir import RunDir, choose_base
from xinfer.processes.torch_gate import block_torch

CONFIG_EXIT = 2
"""Exit status of a process that refuses to start; restarting it would not help."""

Announce = Callable[[dict[str, Any]], None]
Target = Callable[[dict[str, Any], Announce], int | None]


class Announcer:
    """Tells the parent, once, that this process is ready or why it will not be."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, facts: dict[str, Any]) -> None:
        """Send what others need to reach this process, such as its address; JSON values."""
        if not self.send({"ready": facts}):
            raise RuntimeError("A process announces itself once.")

    def send(self, message: dict[str, Any]) -> bool:
        """False if something was sent before."""
        if self._fd < 0:
            return False
        with open(self._fd, "wb") as pipe:
            self._fd = -1
            pipe.write(json.dumps(message).encode() + b"\n")
        return True


def run(header: dict[str, Any], announce_fd: int) -> int:
    """Run the target.

    Returns:
        The exit status: what the target returned (None is 0), 2 after a ConfigError, 1 after another error of the tree.
    """
    announcer = Announcer(announce_fd)
    try:
        if header["cores"]:
            _bind(header["cores"])
        block_torch(header["needs_torch"])
        folder = RunDir(choose_base(os.environ))
        atexit.register(folder.remove)
        os.environ["XOSCAR_DIR"] = str(folder.path)
        module, _, function = header["target"].partition(":")
        target: Target = getattr(import_module(module), function)
        return target(header["payload"], announcer) or 0
    except XinferError as error:
        # The parent shows what it is told; after that only stderr is left.
        if not announcer.send({"error": error.message, "code": error.code}):
            sys.stderr.write(f"{header['name']}: {error.message}\n")
        return CONFIG_EXIT if isinstance(error, ConfigError) else 1


def _bind(cores: list[int]) -> None:
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise ConfigError(f"The cores {cores} must be among those this process may use: {error.strerror}.") from error
