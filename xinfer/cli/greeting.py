"""What a server says once it is ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from xinfer import __version__
from xinfer.settings import Home

EXAMPLE = "xinfer launch -n ms-marco-MiniLM-L-12-v2 -r 2"
DEFAULT_URL = "http://127.0.0.1:9997"


def devices(worker: Mapping[str, Any]) -> str:
    """``2 slots (2 × CPU share)`` of what a worker announced."""
    names = Counter(str(device).partition(": ")[2] or str(device) for device in worker.get("devices", ()))
    count = sum(names.values())
    kinds = ", ".join(f"{number} × {name}" if number > 1 else name for name, number in names.items())
    many = f" on each of {worker['workers']} workers" if worker.get("workers", 1) > 1 else ""
    return f"{count} slot{'' if count == 1 else 's'}{many} ({kinds})"


def endpoint_flag(url: str) -> str:
    """``" -e URL"`` where a command would not find it by default."""
    return "" if url == DEFAULT_URL else f" -e {url}"


def serve(url: str, home: Home, worker: Mapping[str, Any]) -> None:
    """All on one machine."""
    say(f"ready at {url}, {devices(worker)}, home {home.root}", f"{EXAMPLE}{endpoint_flag(url)}")


def supervisor(url: str, home: Home, warning: str) -> None:
    """Supervisor and REST API."""
    say(f"supervisor ready at {url}, home {home.root}", f"xinfer worker -e {url}   (on each machine with devices)")
    if warning:
        click.echo(f"Note: {warning}", err=True)


def worker(endpoint: str, home: Home, facts: Mapping[str, Any]) -> None:
    """One worker."""
    say(f"worker {facts['address']} offers {devices(facts)} to {endpoint}, home {home.root}", f"xinfer slots{endpoint_flag(endpoint)}")


def say(line: str, following: str) -> None:
    """The start line and what to type next, on stderr."""
    click.echo(f"xinfer {__version__}: {line}", err=True)
    click.echo(f"Next: {following}", err=True)
