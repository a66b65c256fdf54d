"""`xinfer launches`: what was launched lately, of models that were stopped since, too."""

from __future__ import annotations

import click

from xinfer.cli import columns, connect, options, output

MOST = 200
"""As many as the server keeps."""


@click.command(help="Show what was launched lately, newest first. --json has each request's body, to send it again.")
@click.option("-n", "--tail", type=click.IntRange(1, MOST), default=20, show_default=True, help="The last so many.")
@options.connected()
@options.reading()
def launches(tail: int, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """One row per launch that was accepted."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        found = server.launches(tail)
    output.write(form, columns.LAUNCHES, found, identity=lambda row: str(row["id"]), empty="Nothing has been launched yet.")
