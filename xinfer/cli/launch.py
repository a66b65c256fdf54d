"""`xinfer launch`: start a model and follow its replicas until they are ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xinfer.cli import columns, connect, options, output, progress, request
from xinfer.cli.greeting import endpoint_flag
from xinfer.errors import LaunchFailed

POLL = 0.25
"""Seconds between two looks at the progress."""


@click.command(help="Launch a model and wait until it is ready.")
@request.launch_flags()
@click.option("--dry-run", is_flag=True, help="Show where it would go, as `xinfer plan` does.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is placed.")
@options.connected()
@options.reading(short=False)
@click.pass_context
def launch(
    ctx: click.Context,
    /,
    file: Path | None,
    dry_run: bool,
    no_wait: bool,
    endpoint: str,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Interrupting the command does not interrupt the launch."""
    form = output.form_for(as_json, quiet)
    body = request.body(file, flags)
    with connect.open_server(endpoint, api_key) as server:
        if dry_run:
            from xinfer.cli import plan

            ctx.exit(plan.write(form, server.plan(body)))
        uid = server.launch(body)
        if not no_wait:
            follow(server, uid, endpoint)
        write(form, uid, server.replicas(uid), ready=not no_wait)


def follow(
    server: connect.Server, uid: str, endpoint: str, pause: Callable[[float], None] = time.sleep, leaving: str | None = None
) -> None:
    """Show progress until every replica is ready, and none is on its way out any more.

    Args:
        leaving: id of a replica that is to go, so that no failure of its own ends the wait.

    Raises:
        LaunchFailed: a replica gave up; the sentence is its reason.
        KeyboardInterrupt: after telling that the launch goes on.
    """
    try:
        with progress.open_watch() as watch:
            while True:
                reply = server.progress(uid)
                replicas = reply["replicas"]
                watch.show(replicas)
                failed = next((r for r in replicas if r["stage"] == "failed" and r["replica_model_uid"] != leaving), None)
                if failed is not None:
                    raise failure(uid, failed, endpoint)
                if replicas and all(replica["stage"] == "ready" for replica in replicas):
                    server.settle(uid)
                    break
                pause(POLL)
        if reply.get("dtype_why"):
            output.note(f"{uid} runs in {reply['dtype']}: {reply['dtype_why']}.")
    except KeyboardInterrupt:
        output.note(f"{uid} goes on loading; `xinfer ps` shows how far it is, `xinfer stop {uid}` ends it.")
        raise


def failure(uid: str, replica: progress.Replica, endpoint: str) -> LaunchFailed:
    """What a replica that gave up says, and what can be done."""
    reason = str(replica.get("error_message") or "it gave no reason").rstrip(".")
    where = f" on {replica['slot']}" if replica.get("slot") else ""
    hint = f"`xinfer show {uid}{endpoint_flag(endpoint)}` shows all replicas; `xinfer stop {uid}` removes the model."
    return LaunchFailed(f"Replica {replica['replica_model_uid']}{where} failed: {reason}.", hint=hint)


def write(form: output.Form, uid: str, replicas: list[dict[str, Any]], *, ready: bool) -> None:
    """The launched model, as its replicas report."""
    if form is output.Form.IDS:
        click.echo(uid)
        return
    if form is output.Form.TABLE:
        output.note(f"{uid} is {'ready' if ready else 'starting'}.")
    shown = columns.STARTED
    output.write(form, shown, replicas, identity=lambda r: r["replica_model_uid"], data={"model_uid": uid, "replicas": replicas})
