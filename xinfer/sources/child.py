"""Downloads run in a child process: it can be stopped at any moment, and it dies with its parent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import xinfer
from xinfer.sources.job import Job

# No orphan goes on writing into the cache, whatever kills the parent.
_BOOT = """
import ctypes, os, runpy, signal, sys
parent, module = int(sys.argv.pop(1)), sys.argv.pop(1)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def run_module(job: Job, module: str, arguments: Sequence[str], environment: Mapping[str, str], hear: Callable[[str], None]) -> int:
    """Run ``python -m module arguments``, handing each line it says to ``hear``; returns its exit status.

    Raises:
        Cancelled: the job was stopped, and with it the child.
    """
    job.check()
    here = str(Path(xinfer.__file__).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-c", _BOOT, str(os.getpid()), module, *arguments]
    merged = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment}
    with subprocess.Popen(
        command, env=merged, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        job.child = child
        if job.stopped.is_set():  # stop() may have looked before the child was there
            child.kill()
        for line in child.stdout or ():
            hear(line.rstrip("\n"))
    job.check()
    return child.returncode
