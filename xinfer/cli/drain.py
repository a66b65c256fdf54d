"""`xinfer drain`: empty a worker before its host is touched."""

from __future__ import annotations

import time

import click

from xinfer.cli import connect, options, output

POLL = 0.5
"""Seconds between two looks."""


@click.command(help="Empty a worker: nothing new goes there, and its replicas move to others while they serve.")
@click.argument("worker")
@click.option("--undo", is_flag=True, help="Use the worker again.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it has begun.")
@options.connected()
@options.reading()
def drain(worker: str, undo: bool, no_wait: bool, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """WORKER by address, ip, host name or id. Interrupting the command does not end the draining."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        reply = server.drain(worker, undo)
        if not undo and not no_wait:
            reply = _follow(server, reply)
    name = reply["address"] or reply["worker_id"]
    if form is output.Form.JSON:
        output.write_json(reply)
    elif form is output.Form.IDS:
        click.echo(reply["worker_id"])
    elif not reply["draining"]:
        output.note(f"{name} may be used again.")
    elif reply["leaving"]:
        output.note(f"{name} is being drained; {', '.join(reply['leaving'])} will leave.")
    elif not reply["staying"]:
        output.note(f"{name} is empty.")
    if reply["draining"] and reply["staying"]:
        output.note(f"Pinned there, and serving until they are moved: {', '.join(reply['staying'])}. `xinfer move` names another slot.")


def _follow(server: connect.Server, reply: connect.Row) -> connect.Row:
    """Look until nothing is left that leaves by itself; say what has gone."""
    try:
        before: set[str] = set(reply["leaving"])
        said: set[str] = set()
        while before:
            for reason in sorted(set(reply["reasons"].values()) - said):
                said.add(reason)
                output.note(reason)
            time.sleep(POLL)
            reply = server.drained(reply["worker_id"])
            if not reply["draining"]:
                output.note("Somebody has ended the draining.")
                break
            for gone in sorted(before - set(reply["leaving"])):
                output.note(f"{gone} has left.")
            before = set(reply["leaving"])
    except KeyboardInterrupt:
        output.note("The draining goes on; `xinfer drain` shows how far it is, `--undo` ends it.")
        raise
    return reply
