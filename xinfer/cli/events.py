"""`xinfer events`: what happened in the cluster since its supervisor began, and what happens from now on."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from xinfer.cli import columns, connect, options, output
from xinfer.errors import Unavailable, Unreachable

EVERY = 1.0
"""Seconds between two looks of `--follow`."""
MOST = 10_000


@click.command(help="Show what happened: replicas that start, fail and move, workers that come and go.")
@click.option("-n", "--tail", type=click.IntRange(1, MOST), default=50, show_default=True, help="The last so many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option("-u", "--model-uid", metavar="UID", help="Of this model and its replicas.")
@click.option("--replica", metavar="ID", help="Of this replica, by its full id.")
@click.option("--worker", metavar="ADDR", help="Of this worker: address, ip, host name or id.")
@options.connected()
@options.reading(short=False)
def events(
    tail: int, follow: bool, model_uid: str | None, replica: str | None, worker: str | None,
    endpoint: str, api_key: str | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Lines as a listing; followed, a line each, or a JSON object a line."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        about = {"model_uid": model_uid, "replica": replica, "worker": worker}
        last = server.history(tail, **about)
        if not follow:
            output.write(form, columns.EVENTS, last, identity=lambda row: row["id"], empty="Nothing has happened yet.")
            return
        for row in last:
            _say(form, row)
        _follow(server, form, about, last[-1]["id"] if last else "")


def _follow(server: connect.Server, form: output.Form, about: dict[str, Any], after: str) -> None:
    away = False
    while True:
        time.sleep(EVERY)
        try:
            fresh = server.history(MOST, after=after or None, **about)
        except (Unavailable, Unreachable) as error:
            if not away:
                output.note(f"{error.message} Waiting.")
            away = True
            continue
        away = False
        for row in fresh:
            _say(form, row)
            after = row["id"]


def _say(form: output.Form, row: output.Row) -> None:
    if form is output.Form.JSON:
        click.echo(json.dumps(row, ensure_ascii=False))
    elif form is output.Form.IDS:
        click.echo(row["id"])
    else:
        style = {"warning": "yellow", "error": "red"}.get(row["level"])
        click.echo(f"{columns.second(row['at'])}  {click.style(row['text'], fg=style)}")
