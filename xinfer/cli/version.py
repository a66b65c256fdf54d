"""`xinfer version`."""

from __future__ import annotations

import click

from xinfer import __version__
from xinfer.cli import options, output


@click.command(help="Print the version, and with --server that of the server too.")
@click.option("--server", "ask", is_flag=True, help="Ask the server at the endpoint.")
@options.connected()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(ask: bool, as_json: bool, endpoint: str, api_key: str | None) -> None:
    """Without --server nothing is contacted."""
    found = {"version": __version__}
    if ask:
        from xinfer.cli import connect

        with connect.open_server(endpoint, api_key) as server:
            found["server"] = server.version()
    if as_json:
        output.write_json(found)
    else:
        click.echo(__version__ if not ask else f"xinfer {__version__}, server {found['server']}")
