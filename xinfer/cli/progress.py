"""How far a launch has come: one bar per replica on a terminal, a line per stage elsewhere; always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from xinfer.cli.output import gibibytes, note, stderr_is_terminal

if TYPE_CHECKING:
    from rich.progress import TaskID

Replica = Mapping[str, Any]
NARROW = 100
"""Terminals of fewer columns show no slots beside the bars; the listing at the end does."""


class Watch(Protocol):
    """Something to show progress on."""

    def __enter__(self) -> Watch: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def show(self, replicas: list[Replica]) -> None:
        """The replicas of GET /v1/models/{uid}/progress, as they are now."""


def open_watch() -> Watch:
    """Bars for a person, lines for a log."""
    return Bars() if stderr_is_terminal() else Lines()


class Lines:
    """A line whenever a replica enters a stage."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def show(self, replicas: list[Replica]) -> None:
        """Say what is new."""
        for replica in replicas:
            name, words = str(replica["replica_model_uid"]), stage(replica)
            if self._said.get(name) != words:
                self._said[name] = words
                note(f"{label(replica)}: {words}")


class Bars:
    """A bar per replica with its slot, stage and download."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        console = Console(file=sys.stderr, highlight=False)
        self._narrow = console.width < NARROW
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10 if self._narrow else 20),
            TextColumn("{task.percentage:>3.0f} %"),
            # The stage takes what is left and is cut where that is too little; rich would drop the bar instead.
            TextColumn("{task.fields[stage]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, replicas: list[Replica]) -> None:
        """Move the bars."""
        for replica in replicas:
            name = str(replica["replica_model_uid"])
            title = name if self._narrow else label(replica)
            words = stage(replica) + downloads(replica)
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(title, total=1.0, stage=words)
            self._progress.update(self._tasks[name], description=title, completed=float(replica["progress"]), stage=words)


def label(replica: Replica) -> str:
    """``rr-0 10.0.0.2:24002@0``."""
    return f"{replica['replica_model_uid']} {replica['slot']}".rstrip()


def stage(replica: Replica) -> str:
    """The stage in words, with the reason of one that went wrong."""
    words = str(replica["stage"]).replace("_", " ")
    reason = " ".join(str(replica.get("error_message") or "").split())
    return f"{words}: {reason}" if reason and words in ("backoff", "failed", "queued") else words


def downloads(replica: Replica) -> str:
    """`` 12 MiB of 73 MiB`` while files are on their way."""
    files = replica.get("download_files") or ()
    done, total = sum(f["done_bytes"] for f in files), sum(f["total_bytes"] for f in files)
    if not done or done >= total > 0 or replica["stage"] != "fetching":
        return ""
    return f" {gibibytes(done)}" + (f" of {gibibytes(total)}" if total else "")
