"""What is left of a tree whose middle died: the launcher becomes its parent and ends it.

The parent-death signal reaches processes of ours. What an engine starts by itself knows of none, and would outlive a replica that
died, device and all. A daemon that a living replica has let go of on purpose is an orphan too, and stays: every process carries the
mark of the one of ours that it descends from.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Collection

import psutil

from xinfer.processes.child import kill_tree
from xinfer.processes.spawn import MARK

_PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """From now on, descendants of this process whose parents die become its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end(known: Collection[int]) -> None:
    """Kill and reap every child of this process that is not ``known``, unless what it descends from lives below a known one."""
    children = psutil.Process().children()
    orphans = [child for child in children if child.pid not in known]
    if not orphans:
        return
    alive = {_mark(process) for child in children if child.pid in known for process in _tree(child)}
    for orphan in orphans:
        mark = _mark(orphan)
        if not mark or mark not in alive:
            kill_tree(orphan.pid)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(orphan.pid, os.WNOHANG)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _mark(process: psutil.Process) -> str:
    """That with which it, or the one it was forked from, was started; "" of a dead one."""
    try:
        return str(process.environ().get(MARK, ""))
    except psutil.Error:
        return ""
