"""A running child: is it ready, has it ended, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil

from xinfer.errors import DeadlineExceeded, LaunchFailed
from xinfer.processes.redact import redacted

_TAIL_BYTES = 16 * 1024
_POLL = 0.05


class Inherited:
    """A child that this process had before it became what it is (``spawn.become``): as much of a Popen as ``Child`` needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self) -> int:
        """Reap it; the exit status as in ``subprocess``."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class Child:
    """Made by ``spawn``; the methods that wait belong to one event loop, the spawning thread's.

    When the child ends, what is left of its process group is killed with it.
    """

    def __init__(
        self, name: str, process: subprocess.Popen[bytes] | Inherited, announce_fd: int | None, log: Path | None, log_start: int
    ) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._announce_fd = announce_fd
        if announce_fd is not None:
            os.set_blocking(announce_fd, False)
        self._log = log
        self.log_start = log_start
        self._pidfd: int | None = None
        self._received = b""
        self._released = False
        self._announced: asyncio.Future[None] | None = None
        self._exited: asyncio.Future[int] | None = None

    @classmethod
    def inherited(cls, name: str, pid: int, log: Path, log_start: int) -> Child:
        """One that the former image of this process spawned; it has announced itself already."""
        return cls(name, Inherited(pid), None, log, log_start)

    def release(self) -> None:
        """Neither watch it nor end it any more: it goes to whoever takes it over by its pid. It is not reaped here."""
        loop = asyncio.get_running_loop()
        for fd in (self._pidfd, self._announce_fd):
            if fd is not None and loop.remove_reader(fd):
                os.close(fd)
        self._pidfd = None
        self._process.returncode = 0  # for this object it is over
        self._released = True

    async def ready(self, timeout: float) -> dict[str, Any]:
        """What the target announced.

        Raises:
            LaunchFailed: it ended first, or refused; ``details`` has ``exit_code``, ``stderr_tail`` and, if the child gave
                a reason, its error ``reason_code``; the message is that reason or the last line of stderr.
            DeadlineExceeded: neither within ``timeout`` seconds; the child is left as it is.
        """
        announced: asyncio.Future[Any] = self._watch_announce()
        exited: asyncio.Future[Any] = self._watch_exit()
        await asyncio.wait({announced, exited}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if announced.done() and not self._received:
            # The pipe closes a moment before the process ends.
            await asyncio.wait({exited}, timeout=timeout)
        message = json.loads(self._received) if self._received.endswith(b"\n") else {}
        if "ready" in message:
            return dict(message["ready"])
        if not message and not exited.done():
            raise DeadlineExceeded(f"{self.name} (pid {self.pid}) was not ready within {timeout:g} s.", stderr_tail=self.stderr_tail())
        code = await self.wait()
        raise self._failure(code, message)

    async def wait(self) -> int:
        """Exit status; minus the signal's number for a killed one, as in ``subprocess``."""
        return await asyncio.shield(self._watch_exit())

    @property
    def exit_code(self) -> int | None:
        """Exit status if its end has been noticed, else None."""
        return self._process.returncode

    def terminate(self) -> None:
        """SIGTERM, if it is still there."""
        # Only _ended reaps, so until then the number is this child's.
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it and everything below it, if it is still there."""
        if self._process.returncode is None:
            kill_tree(self.pid)

    async def stop(self, grace: float) -> int:
        """SIGTERM, then SIGKILL after ``grace`` seconds; the exit status."""
        self.terminate()
        exited = self._watch_exit()
        await asyncio.wait({exited}, timeout=grace)
        if not exited.done():
            self.kill()
        return await self.wait()

    def stderr_tail(self, lines: int = 20) -> str:
        """The last lines this child wrote; empty if its stderr goes nowhere of ours."""
        if self._log is None:
            return ""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # A file that is shorter than it was has been cut since.
                file.seek(max(self.log_start if self.log_start <= size else 0, size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return redacted("\n".join(text.splitlines()[-lines:]))

    def _failure(self, code: int, message: dict[str, Any]) -> LaunchFailed:
        tail = self.stderr_tail()
        reason = message.get("error") or next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "")
        end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        sentence = str(message["error"]) if "error" in message else f"{self.name} ended with {end} before it was ready"
        if "error" not in message:
            sentence += f": {reason}" if reason else "."
        return LaunchFailed(sentence, exit_code=code, stderr_tail=tail, reason_code=message.get("code", ""))

    def _watch_announce(self) -> asyncio.Future[None]:
        if self._announced is None:
            loop = asyncio.get_running_loop()
            self._announced = loop.create_future()
            if self._announce_fd is None:
                self._announced.set_result(None)
            else:
                loop.add_reader(self._announce_fd, self._read_announce, self._announced, self._announce_fd, False)
        return self._announced

    def _read_announce(self, announced: asyncio.Future[None], fd: int, last: bool) -> None:
        """Take what has come; ``last``: more will not, though a process below the child may hold the pipe open."""
        if announced.done():
            return
        try:
            while data := os.read(fd, 65536):
                self._received += data
        except BlockingIOError:
            if not last and not self._received.endswith(b"\n"):
                return
        announced.get_loop().remove_reader(fd)
        os.close(fd)
        self._announce_fd = None
        announced.set_result(None)

    def _watch_exit(self) -> asyncio.Future[int]:
        if self._exited is None:
            loop = asyncio.get_running_loop()
            self._exited = exited = loop.create_future()
            try:
                fd = os.pidfd_open(self.pid)
            except OSError:  # old kernels, and sandboxes that forbid it
                self._poll(exited)
            else:
                self._pidfd = fd
                loop.add_reader(fd, self._ended, exited, fd)
        return self._exited

    def _poll(self, exited: asyncio.Future[int]) -> None:
        if self._released:
            return
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            exited.get_loop().call_later(_POLL, self._poll, exited)
        else:
            self._ended(exited, None)

    def _ended(self, exited: asyncio.Future[int], fd: int | None) -> None:
        if fd is not None:
            exited.get_loop().remove_reader(fd)
            os.close(fd)
            self._pidfd = None
        announced = self._watch_announce()
        if self._announce_fd is not None:
            self._read_announce(announced, self._announce_fd, True)
        # Not reaped yet, so the group's number cannot belong to anyone else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        exited.set_result(self._process.wait())


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all its descendants; unknown ones are no error."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
