"""Start a process of ours and follow it to its end, or become another.

Every child dies with its parent (also by kill -9), has its own process group, no stdin, and no descriptor that it was not
given. ``spawn`` must be called in the main thread: the parent-death signal watches the thread that spawned.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

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
    header_fd = _write_header(spec)
    announce_read, announce_write = os.pipe()
    stderr_fd, log_start = (2, 0) if spec.stderr is None else LogFile(spec.stderr).open()
    try:
        process = subprocess.Popen(
            _command(spec, os.getpid(), header_fd, announce_write),
            stdin=subprocess.DEVNULL,
            stdout=stderr_fd,
            stderr=stderr_fd,
            env=_environment({**spec.env, **outer, MARK: os.urandom(8).hex()}),
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


def become(spec: ProcessSpec) -> NoReturn:
    """Be ``spec`` from now on: same pid, parent, children and standard streams; no other thread, and no descriptor but ``pass_fds``.

    Must be called in the main thread: children die with the thread that spawned them, and the calling one is what is left.
    Nobody hears what the target announces; ``stderr`` is not looked at.

    Raises:
        RuntimeError: called outside the main thread.
        OSError: the interpreter cannot be started; this process goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("become() belongs in the main thread: children die with the thread that spawned them.")
    header_fd = _write_header(spec)
    announce_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    kept = {header_fd, announce_fd, *spec.pass_fds}
    try:
        # Libraries in C do not all close theirs by themselves.
        for fd in [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]:
            with contextlib.suppress(OSError):  # the listing's own is gone
                os.set_inheritable(fd, fd in kept)
        sys.stdout.flush()
        sys.stderr.flush()
        command = _command(spec, os.getppid(), header_fd, announce_fd)
        os.execve(command[0], command, _environment(spec.env))
    finally:  # only when it could not
        os.close(header_fd)
        os.close(announce_fd)
        for fd in spec.pass_fds:
            os.set_inheritable(fd, False)


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**os.environ, **changes}.items() if value is not None}


def _command(spec: ProcessSpec, parent: int, header_fd: int, announce_fd: int) -> list[str]:
    return [str(spec.python or sys.executable), "-P", str(_BOOTSTRAP), spec.name, str(parent), str(header_fd), str(announce_fd)]


def _write_header(spec: ProcessSpec) -> int:
    """A descriptor from which the child reads what it is."""
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
    try:
        with open(os.dup(header_fd), "wb") as file:
            file.write(json.dumps(header).encode())
        os.lseek(header_fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(header_fd)
        raise
    return header_fd
