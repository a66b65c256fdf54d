"""`xinfer slots`: workers, their devices and what runs on them."""

from __future__ import annotations

import click

from xinfer.cli import columns, connect, options, output


@click.command(help="Show workers, their devices and what runs on them.")
@options.connected()
@options.reading()
def slots(endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """One row per device, as pins name them."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        reply = server.slots()
    rows = [{**device, "state": worker["state"], "host": worker["host"]} for worker in reply["workers"] for device in worker["devices"]]
    empty = "No worker has joined; start one with `xinfer worker -e ENDPOINT`."
    output.write(form, columns.DEVICES, rows, identity=lambda row: row["slot"], data=reply, empty=empty)
    waiting = reply.get("waiting") or []
    if waiting and form is output.Form.TABLE:
        output.write_table(columns.WAITING, waiting, title="Without a slot")
