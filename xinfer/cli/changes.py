"""`xinfer scale`, `xinfer move`: change a model while it serves."""

from __future__ import annotations

from typing import Any

import click

from xinfer.cli import connect, options, output
from xinfer.cli.launch import follow, write
from xinfer.errors import LaunchFailed

no_wait_flag = click.option("--no-wait", is_flag=True, help="Return as soon as it is placed.")


@click.command(help="Change how many replicas a model has, or between how many the load decides; those that go finish what they hold.")
@click.argument("uid")
@click.argument("replicas", type=click.IntRange(0), required=False)
@click.option("--min", "min_replica", type=int, metavar="N", help="The fewest that the load leaves; 0 = sleep when idle.")
@click.option("--max", "max_replica", type=int, metavar="N", help="The most that the load asks for; the same as --min fixes the count.")
@click.option("--idle", "idle_seconds", type=float, metavar="SECONDS", help="Without a request until it sleeps.")
@no_wait_flag
@options.connected()
@options.reading()
def scale(
    uid: str,
    replicas: int | None,
    min_replica: int | None,
    max_replica: int | None,
    idle_seconds: float | None,
    no_wait: bool,
    endpoint: str,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """What is worth least goes first: failed, waiting, starting; then unpinned, young ones."""
    form = output.form_for(as_json, quiet)
    if replicas is None and min_replica is None and max_replica is None and idle_seconds is None:
        raise click.UsageError("Say how many: xinfer scale UID 3, or xinfer scale UID --min 1 --max 4.")
    with connect.open_server(endpoint, api_key) as server:
        change = server.scale(uid, replicas, min_replica=min_replica, max_replica=max_replica, idle_seconds=idle_seconds)
        if change["min_replica"] != change["max_replica"]:
            output.note(f"{uid} has {change['min_replica']} to {change['max_replica']} replicas, as the load asks.")
        for name, words in (("added", "is started"), ("removed", "is let go")):
            for replica in change[name]:
                output.note(f"{replica} {words}.")
        if not change["replica"]:
            output.note(f"{uid} is asleep; a request wakes it.")
            if form is output.Form.TABLE:
                return
        elif not no_wait:
            follow(server, uid, endpoint)
        write(form, uid, server.replicas(uid), ready=not no_wait)


@click.command(help="Move a replica to another slot: a new one is started there, and takes its place once it is ready.")
@click.argument("uid")
@click.argument("replica", metavar="REPLICA")
@click.option("--pin", "slot", metavar="ADDR@INDEX", help="The slot, such as 10.0.0.2:24002@3.  [default: any other]")
@click.option("--worker-ip", metavar="ADDR", help="Any slot of this worker.")
@no_wait_flag
@options.connected()
@options.reading()
def move(
    uid: str,
    replica: str,
    slot: str | None,
    worker_ip: str | None,
    no_wait: bool,
    endpoint: str,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """REPLICA by number or full id."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        begun = server.move(uid, replica, slot, worker_ip)
        output.note(f"{begun['moved']} stays until {begun['replica_model_uid']} is ready on {begun['slot']}.")
        if not no_wait:
            follow(server, uid, endpoint, leaving=begun["moved"])
        found = server.replicas(uid)
        if not no_wait:
            _check(begun, found)
        write(form, uid, found, ready=not no_wait)


def _check(begun: dict[str, Any], found: list[dict[str, Any]]) -> None:
    """A successor that has failed is gone, and the old replica says why."""
    by_id = {row["replica_model_uid"]: row for row in found}
    if begun["replica_model_uid"] in by_id:
        return
    reason = (by_id.get(begun["moved"]) or {}).get("error_message") or f"{begun['replica_model_uid']} was removed."
    raise LaunchFailed(f"{begun['moved']} was not moved: {str(reason).removeprefix('It was not moved: ')}")
