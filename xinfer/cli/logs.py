"""`xinfer logs`: what the processes of a model's replicas wrote, the dead ones too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from xinfer.cli import connect, options, output

if TYPE_CHECKING:
    from xinfer.schemas.models import LogsReply

EVERY = 1.0
"""Seconds between two looks of `--follow`."""


@click.command(help="Show what a model's replicas wrote last: warnings, tracebacks, what pip said.")
@click.argument("uid")
@click.argument("replica", required=False)
@click.option("-n", "--tail", type=click.IntRange(1, 5000), default=50, show_default=True, help="Last lines of each replica.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what they write from now on, until Ctrl-C.")
@options.connected()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def logs(uid: str, replica: str | None, tail: int, follow: bool, endpoint: str, api_key: str | None, as_json: bool) -> None:
    """REPLICA by number or full id; without it, every replica under its name. Of a stopped model, name the replica."""
    if follow and as_json:
        raise click.UsageError("--follow and --json exclude each other.")
    with connect.open_server(endpoint, api_key) as server:
        last = {name: server.logs(uid, name, tail) for name in _names(server, uid, replica)}
        if as_json:
            output.write_json({name: found.text.splitlines() for name, found in last.items()})
            return
        shown = ""
        for name, found in last.items():
            shown = _write(name, found.text, shown, many=replica is None)
            if not found.text and not follow:
                output.note(f"{name} has written nothing.")
        if follow:
            for name, text in _following(server, uid, replica, last):
                shown = _write(name, text, shown, many=replica is None)


def _names(server: connect.Server, uid: str, replica: str | None) -> list[str]:
    return [replica] if replica else [str(row["replica_model_uid"]) for row in server.replicas(uid)]


def _following(server: connect.Server, uid: str, replica: str | None, last: dict[str, LogsReply]) -> Iterator[tuple[str, str]]:
    """(replica, what it wrote since), as it comes; a replica that comes later is read from its first line that is kept."""
    from xinfer.schemas.models import LogsReply

    while True:
        time.sleep(EVERY)
        for name in _names(server, uid, replica):
            found = server.logs(uid, name, 1, last.get(name) or LogsReply(replica_model_uid=name, worker_id="", position=0, text=""))
            while found.text:
                yield name, found.text
                last[name] = found
                found = server.logs(uid, name, 1, found)


def _write(name: str, text: str, shown: str, *, many: bool) -> str:
    """Under its name, unless the name stands over the line before; the name under which the next text goes."""
    if many and name != shown:
        click.echo(f"==> {name} <==")
    click.echo(text, nl=bool(text) and not text.endswith("\n"))
    return name
