"""Slows a process down to a share of its speed by stopping and continuing it, many times a second.

A process of its own, so that nothing that the driver does stretches the rhythm. It ends, and lets the other go on, when its
stdin closes: also if its parent is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

PERIOD = 0.04
"""Seconds of one stop and one go."""


@contextlib.contextmanager
def slowed(pid: int, share: float) -> Iterator[None]:
    """Within the block the process ``pid`` runs for ``share`` of the time."""
    command = [sys.executable, "-m", "scripts.benchmarks.throttle", str(pid), str(share)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"The process that slows {pid} down has ended with {process.returncode}.")
    finally:
        process.communicate()
        # Whatever became of the helper, nothing of ours stays stopped.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def main() -> None:
    """PID SHARE."""
    pid, share = int(sys.argv[1]), float(sys.argv[2])
    try:
        while True:
            os.kill(pid, signal.SIGSTOP)
            if _told_to_end(PERIOD * (1 - share)):
                return
            os.kill(pid, signal.SIGCONT)
            if _told_to_end(PERIOD * share):
                return
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _told_to_end(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    main()
