"""One download under way: it runs on a thread of its own, so the caller can report progress and cancel."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import dataclass, field

from xinfer.errors import Cancelled
from xinfer.sources.store import Entry, tree_bytes

Progress = Callable[[str, int, int], None]
"""Called with (source, bytes so far, bytes in all or 0 if unknown), from the thread that fetches."""

POLL = 0.25


@dataclass(slots=True)
class Job:
    """What the downloading thread and the waiting caller share."""

    entry: Entry
    stopped: threading.Event = field(default_factory=threading.Event)
    child: subprocess.Popen[str] | None = None

    def check(self) -> None:
        """Raises Cancelled once the caller has given up."""
        if self.stopped.is_set():
            raise Cancelled(f"fetching {self.entry.label} was cancelled")

    def stop(self) -> None:
        """Give up; a child process is killed."""
        self.stopped.set()
        child = self.child
        if child is not None and child.poll() is None:
            child.kill()


def run(job: Job, work: Callable[[Job], None], progress: Progress, cancelled: Callable[[], bool]) -> None:
    """Run ``work`` to its end, reporting the bytes on disk meanwhile.

    Raises:
        Cancelled: ``cancelled()`` became true; whatever ``work`` raised otherwise.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="fetch")
    try:
        running = pool.submit(work, job)
        while True:
            try:
                return running.result(timeout=POLL)
            except StillRunning:
                if running.done():  # work itself raised a TimeoutError
                    raise
            report(job.entry, progress)
            if cancelled():
                job.stop()
                running.exception()  # it holds the files until it has really stopped
                job.check()
    finally:
        job.stop()
        pool.shutdown(wait=False)


def report(entry: Entry, progress: Progress) -> None:
    """Tell how much of a download, ours or another process's, is on disk."""
    done, total = tree_bytes(entry.partial), entry.noted_total()
    progress(entry.label, min(done, total) if total else done, total)
