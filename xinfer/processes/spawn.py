"""Start a process of ours and follow it to its end.

Every child dies with its parent (also by kill -9), has its own process group, no stdin, and no descriptor that it was not
given. ``spawn`` must be called in the main thread: the parent-death signal watches the thread that spawned.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xinfer.processes.child import Child
from xinfer.processes.logfile import LogFile

MARK = "XINFER_MARK"
"""Variable with a value of its own in each process that is spawned, which all below it inherit (``orphans``)."""
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class ProcessSpec:
    """What to run.

    Attributes:
        target: ``package.module:function``, called as ``function(payload, announce)``; it runs its own loop and returns an
            exit status or None.
        payload: JSON values.
        name: for ``ps``, logs and messages.
        env: changes to this process's environment; None removes a variable.
        cores: CPUs to be bound to before anything runs; empty = all.
        stderr: file that stderr and stdout are appended to; None = this process's stderr.
        pass_fds: descriptors to inherit, under the same numbers; the child's own children do not get them.
        needs_torch: whether the target may call ``allow_torch``.
        python: interpreter of an overlay environment (``environments``); None = this process's own, with the same path.
    """

    target: str
    payload: Mapping[str, Any]
    name: str
    env: Mapping[str, str | None] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    stderr: Path | None = None
    pass_fds: tuple[int, ...] = ()
    needs_torch: bool = False
    python: Path | None = None


def spawn(spec: ProcessSpec) -> Child:
    """Start ``spec`` and return at once; ``await child.ready(timeout)`` for what it announces.

    Raises:
        RuntimeError: called outside the main thread.
        OSError: no process, or no stderr file, could be made.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn() belongs in the main thread: children die with the thread that spawned them.")
    outer = {} if spec.python is None else {"PYTHONPATH": None}  # the overlay comes before what it names
    env = {key: value for key, value in {**os.environ, **spec.env, **outer, MARK: os.urandom(8).hex()}.items() if value is not None}
    header = {
        "name": spec.name,
        "target": spec.target,
        "payload": dict(spec.payload),
        "cores": list(spec.cores),
        "pass_fds": list(spec.pass_fds),
        "needs_torch": spec.needs_torch,
        "overlay": spec.python is not None,
        "sys_path": [os.path.abspath(entry) for entry in sys.path],
    }
    # A memory file, not a pipe: of any size, and nobody waits for the other to read.
    header_fd = os.memfd_create("header")
    announce_read, announce_write = os.pipe()
    stderr_fd, log_start = (2, 0) if spec.stderr is None else LogFile(spec.stderr).open()
    try:
        with open(os.dup(header_fd), "wb") as file:
            file.write(json.dumps(header).encode())
        os.lseek(header_fd, 0, os.SEEK_SET)
        process = subprocess.Popen(
            [str(spec.python or sys.executable), "-P", str(_BOOTSTRAP), spec.name, str(os.getpid()), str(header_fd), str(announce_write)],
            stdin=subprocess.DEVNULL,
            stdout=stderr_fd,
            stderr=stderr_fd,
            env=env,
            pass_fds=(header_fd, announce_write, *spec.pass_fds),
            # Ctrl-C in a terminal reaches the launcher alone, which stops its children in order.
            process_group=0,
        )
    except BaseException:
        os.close(announce_read)
        raise
    finally:
        os.close(header_fd)
        os.close(announce_write)
        if spec.stderr is not None:
            os.close(stderr_fd)
    return Child(spec.name, process, announce_read, spec.stderr, log_start)
