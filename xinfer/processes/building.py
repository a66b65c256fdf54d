"""A process that builds one model's environment and ends: venv, pip, probe. Killed at any point, it leaves nothing that counts as built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xinfer
from xinfer.errors import LaunchFailed
from xinfer.processes.bootstrap import die_with_parent
from xinfer.processes.environments import Base, Place, key_of, unused

_PROBE = Path(__file__).with_name("probe.py")
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PYTHONPATH")
"""What would make pip install anywhere but into the overlay, or stand before it."""
_BASE_FILE = "zz_xinfer_base.pth"


def main(payload: dict[str, Any], announce: Callable[[dict[str, Any]], None]) -> int:
    """Announce the key of an environment with ``payload["requirements"]``, built now if it is not there.

    Raises:
        LaunchFailed: they cannot be installed, or break what a replica needs.
    """
    root = Path(payload["root"])
    root.mkdir(parents=True, exist_ok=True)
    base = Base.here(payload["packages"])
    place = Place(root, key_of(payload["requirements"], base))
    with place.locked(alone=False):
        found = place.built
        if found:
            place.touch()
    if not found:
        with place.locked(alone=True) as lock:
            if not place.built:  # another may have built it while this one waited
                build(place, payload["requirements"], payload["packages"], base, lock)
            place.touch()
        prune(root, time.time())
    announce({"key": place.key})
    return 0


def build(place: Place, requirements: Sequence[str], packages: Sequence[str], base: Base, lock: int) -> None:
    """Make the environment from nothing, whole or not at all; ``lock`` holds it alone."""
    place.remove()
    try:
        _build(place, requirements, packages, base, lock)
    except BaseException:
        place.remove()
        raise


def _build(place: Place, requirements: Sequence[str], packages: Sequence[str], base: Base, lock: int) -> None:
    sys.stderr.write(f"packages: building {place.folder} with {', '.join(requirements)}\n")
    venv.EnvBuilder(symlinks=True, with_pip=find_spec("pip") is None).create(place.folder)
    # A venv of a venv sees the interpreter's packages, not the outer venv's. Its own folder is on the path already, so the
    # base's come after it, and addsitedir reads their .pth files too, as editable installs need.
    lines = [f"import site; site.addsitedir({path!r})" for path in base.paths]
    (place.packages / _BASE_FILE).write_text("\n".join(lines) + "\n")
    install(place, requirements, lock)
    probe(place, packages)
    place.finish({"requirements": list(requirements), "python": base.python, "versions": dict(base.versions), "built_at": time.time()})


def install(place: Place, requirements: Sequence[str], lock: int) -> None:
    """Run pip, its output into this process's log.

    Args:
        lock: held by pip too: killed with this process, it ends a moment later, and writes until then.

    Raises:
        LaunchFailed: with pip's own reason.
    """
    # An empty folder to stand in, so that no name is taken for a file that lies around.
    stand = place.folder / "empty"
    stand.mkdir()
    flags = ("--no-input", "--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off")
    command = [str(place.python), "-P", "-m", "pip", "install", *flags, "--", *requirements]
    parent = os.getpid()
    # This process has one thread, so running code between fork and exec is safe.
    with subprocess.Popen(
        command,
        cwd=stand,
        env={key: value for key, value in os.environ.items() if key not in _ELSEWHERE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(lock,),
        preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509
    ) as pip:
        assert pip.stdout is not None  # noqa: S101
        last: deque[str] = deque(maxlen=50)
        for line in pip.stdout:
            sys.stderr.write(line)
            last.append(line.strip())
    if pip.returncode != 0:
        errors = [line.removeprefix("ERROR:").strip() for line in last if line.startswith("ERROR:")]
        reason = (errors or [line for line in last if line] or [f"pip ended with {pip.returncode}"])[-1]
        raise LaunchFailed(f"packages cannot be installed: {reason.rstrip('.')}.", param="packages")


def probe(place: Place, packages: Sequence[str]) -> None:
    """Import what a replica needs in the new interpreter.

    Raises:
        LaunchFailed: with what broke.
    """
    wanted = json.dumps({"packages": list(packages), "xinfer": str(Path(xinfer.__file__).resolve()), "path": sys.path})
    parent = os.getpid()
    done = subprocess.run(
        [str(place.python), "-P", str(_PROBE), wanted],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        preexec_fn=lambda: die_with_parent(parent),
    )
    sys.stderr.write(done.stderr)
    if done.returncode != 0:
        said = done.stdout.strip().splitlines()
        reason = said[-1] if said else f"the probe ended with exit status {done.returncode}"
        raise LaunchFailed(f"packages break what a replica needs: {reason.rstrip('.')}.", param="packages")


def prune(root: Path, now: float) -> list[str]:
    """Remove what nobody has used for a month and nothing runs in, and what is left of builds that were cut short; the keys."""
    last_used = {folder.name: Place(root, folder.name).last_used for folder in root.iterdir() if folder.is_dir()}
    removed = []
    for key in unused(last_used, now):
        place = Place(root, key)
        try:
            with place.locked(alone=True, patience=0.0):
                place.remove()
        except BlockingIOError:
            continue
        removed.append(key)
        sys.stderr.write(f"packages: removed {place.folder}, unused for a month or never finished\n")
    return removed
