"""`xinfer plan`: where a launch would go, from the very function that launches use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xinfer.cli import columns, connect, failures, options, output, request


@click.command(help="Show where a launch would go, and why, without launching.")
@request.launch_flags()
@options.connected()
@options.reading(short=False)
@click.pass_context
def plan(ctx: click.Context, /, file: Path | None, endpoint: str, api_key: str | None, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Exit code 1 if it does not fit."""
    form = output.form_for(as_json, quiet)
    body = request.body(file, flags)
    with connect.open_server(endpoint, api_key) as server:
        ctx.exit(write(form, server.plan(body)))


def write(form: output.Form, reply: dict[str, Any]) -> int:
    """Print a plan; the exit code."""
    planned, refused = reply["replicas"], reply["refused"]
    if form is output.Form.JSON:
        output.write_json(reply)
    elif form is not output.Form.TABLE:
        output.write(form, columns.PLANNED, planned, identity=lambda r: r["slot"])
    else:
        memory = output.gibibytes(reply["memory_per_device_bytes"])
        title = f"{reply['model_name']} on {reply['model_engine']}, {reply['dtype']}, {memory} per device"
        if planned:
            output.write_table(columns.PLANNED, planned, title=title)
        if refused:
            output.write_table(columns.REFUSED, refused, title="Slots that were refused")
        if reply.get("moves"):
            output.write_table(columns.MOVES, reply["moves"], title="Moves that would make room")
    if reply["fits"]:
        return failures.OK
    lines = [] if form in (output.Form.TABLE, output.Form.JSON) else failures.reasons(refused)
    failures.say(reply.get("reason") or "No slot can hold this launch.", reply.get("hint") or hint_of(refused), lines)
    return failures.FAILED


def hint_of(refused: list[dict[str, Any]]) -> str:
    """What would help at the first slot that says so."""
    return next((str(slot["hint"]) for slot in refused if slot.get("hint")), "")
