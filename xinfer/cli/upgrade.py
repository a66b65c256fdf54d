"""`xinfer upgrade`: a worker takes up the code that is installed on its host, while its replicas serve on."""

from __future__ import annotations

import click

from xinfer.cli import connect, options, output


@click.command(help="Let a worker take up the code now installed on its host; its replicas serve on, with the code they were started with.")
@click.argument("worker")
@options.connected()
@options.reading()
def upgrade(worker: str, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """WORKER by address, ip, host name or id. If the new code does not start, nothing changes."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        reply = server.upgrade(worker)
    if form is output.Form.JSON:
        output.write_json(reply)
        return
    if form is output.Form.IDS:
        click.echo(reply["worker_id"])
        return
    kept = len(reply["kept"])
    output.note(f"{reply['address']} runs {reply['version']}, before {reply['version_before']}; {kept} replica{'s' * (kept != 1)} kept.")
    if reply["restarted"]:
        output.note(f"Started again: {', '.join(reply['restarted'])}.")
