"""What a child process runs first. Started by path, so that nothing at all is imported before the parent-death signal is set.

Arguments: name (for ``ps``), pid of the parent, descriptor of the header, descriptor to announce on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """SIGKILL when the spawning thread ends; the check closes the gap in which the parent may already have died."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def _main() -> int:
    parent, header_fd, announce_fd = (int(argument) for argument in sys.argv[2:5])
    die_with_parent(parent)
    os.set_inheritable(announce_fd, False)

    import faulthandler
    import json

    faulthandler.enable()
    with open(header_fd, "rb") as file:
        header = json.load(file)
    for fd in header["pass_fds"]:
        os.set_inheritable(fd, False)
    if header["overlay"]:
        # This interpreter's own packages come first; what else the parent sees comes after them.
        sys.path += [entry for entry in header["sys_path"] if entry not in sys.path]
    else:
        sys.path[:] = header["sys_path"]

    from xinfer.processes import entry

    return entry.run(header, announce_fd)


if __name__ == "__main__":
    sys.exit(_main())
