"""A private folder per process for xoscar's sockets, whose names would otherwise collide in the user's home."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

# A Unix socket's path has 107 bytes; xoscar adds "/.xoscar/socket/" and 32 characters to a folder of ours ("/" and 16).
_LONGEST_BASE = 107 - 48 - 17


class RunDir:
    """``<base>/<pid>-<random>``, mode 0700, held by a lock that dies with the process."""

    def __init__(self, base: Path) -> None:
        """Make the folder and remove those whose owners are dead, whatever killed them and in whatever container."""
        _sweep(base)
        while True:
            self.path = base / f"{os.getpid()}-{secrets.token_hex(4)}"
            self._lock_path = base / f"{self.path.name}.lock"
            self._lock = os.open(self._lock_path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self._lock_path.exists():
                break
            os.close(self._lock)  # a sweeper saw the file before it was locked
        self.path.mkdir(mode=0o700)

    def remove(self) -> None:
        """Remove the folder; a second call does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock_path.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def choose_base(env: Mapping[str, str]) -> Path:
    """``XINFER_HOME/run``, or a folder of this user's among the temporary files where that is unset, too long or not writable."""
    home = env.get("XINFER_HOME")
    shared = f"xinfer-{os.getuid()}"
    candidates = [Path(home).absolute() / "run"] if home else []
    candidates += [Path(tempfile.gettempdir()) / shared, Path("/tmp") / shared]
    for base in candidates:
        if len(os.fsencode(base)) <= _LONGEST_BASE and _is_private(base):
            return base
    return Path(tempfile.mkdtemp(prefix="xinfer-", dir="/tmp"))


def _is_private(base: Path) -> bool:
    """Make ``base`` if it is missing; True if it is a folder of ours that nobody else may enter."""
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            base.mkdir(mode=0o700)
        stat = base.lstat()
    except OSError:
        return False
    return base.is_dir() and not base.is_symlink() and stat.st_uid == os.getuid() and not stat.st_mode & 0o077


def _sweep(base: Path) -> None:
    for lock in base.glob("*.lock"):
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
        except OSError:
            pass  # its owner lives
        finally:
            os.close(fd)
