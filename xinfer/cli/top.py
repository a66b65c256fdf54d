"""`xinfer top`: how busy every device and replica is, as the workers measure it every two seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import click

from xinfer.cli import columns, connect, options, output

EVERY = 2.0


@click.command(help="Watch how busy devices and replicas are, until Ctrl-C.")
@click.option("--once", is_flag=True, help="Show it once; also where stdout is no terminal.")
@options.connected()
@options.reading()
def top(once: bool, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """One row per device and replica."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        if form is output.Form.TABLE and not once:
            with suppress(KeyboardInterrupt):
                _watch(server)
            return
        rows = seen(server.slots()["workers"], server.readings())
        empty = "No worker has joined; start one with `xinfer worker -e ENDPOINT`."
        output.write(form, columns.TOP, rows, identity=lambda row: row["replica"] or row["slot"], empty=empty)


def _watch(server: connect.Server) -> None:
    from rich.live import Live

    console = output.stdout_console()
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        while True:
            rows = seen(server.slots()["workers"], server.readings())
            live.update(output.table_of(columns.TOP, rows, console), refresh=True)
            time.sleep(EVERY)


def seen(workers: Sequence[output.Row], readings: Sequence[output.Row]) -> list[output.Row]:
    """A row per device and replica, busiest replicas of a device first; a device that holds none has a row of its own."""
    devices = {device["uuid"]: device for reading in readings for device in reading["devices"]}
    replicas = {replica["replica_model_uid"]: replica for reading in readings for replica in reading["replicas"]}
    rows: list[output.Row] = []
    for device in (device for worker in workers for device in worker["devices"]):
        live = devices.get(device["uuid"], {})
        shown = {"slot": device["slot"], "name": device["name"], "replica": "", **_of(live, "utilization", "free_bytes")}
        held = [
            {
                **shown,
                "replica": it["replica_model_uid"],
                "phase": it["phase"],
                **_of(replicas.get(it["replica_model_uid"], {}), "queue", "items", "tokens", "busy", "p50", "p95"),
            }
            for it in device["replicas"]
        ]
        rows += sorted(held, key=lambda row: -(row["busy"] or 0.0)) or [shown]
    return rows


def _of(reading: output.Row, *names: str) -> output.Row:
    return {name: reading.get(name) for name in names}
