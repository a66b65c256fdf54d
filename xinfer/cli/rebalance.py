"""`xinfer rebalance`: move replicas so that others find room."""

from __future__ import annotations

import time
from typing import Any

import click

from xinfer.cli import columns, connect, failures, options, output

POLL = 0.5
"""Seconds between two looks."""


@click.command(
    help="Move unpinned replicas: so that what waits for a slot finds one, else so that whole devices become free. "
    "No request fails meanwhile; replicas that come to share a device share its compute."
)
@click.option("--dry-run", is_flag=True, help="Show the moves, begin none.")
@click.option("--max-moves", type=click.IntRange(1), metavar="N", help="At most so many moves.")
@click.option("--memory", metavar="20GiB", help="Make room for a replica that needs so much on a device, and do nothing else.")
@click.option("--n-gpu", type=click.IntRange(1), metavar="N", help="With --memory: on each of so many devices of one worker.")
@click.option("-r", "--replica", type=click.IntRange(1), metavar="N", help="With --memory: for so many replicas.")
@click.option("-en", "--model-engine", metavar="ENGINE", help="With --memory: on workers that have this engine.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the first moves have begun.")
@options.connected()
@options.reading(short=False)
@click.pass_context
def rebalance(
    ctx: click.Context, /, dry_run: bool, no_wait: bool, endpoint: str, api_key: str | None, as_json: bool, quiet: bool, **asked: Any
) -> None:
    """Exit code 1 if a move failed, or if something would still find no room."""
    form = output.form_for(as_json, quiet)
    body = {name: value for name, value in asked.items() if value is not None}
    failed: list[str] = []
    with connect.open_server(endpoint, api_key) as server:
        reply = server.rebalance(dry_run=dry_run, **body)
        done = dict(reply)
        _show(form, reply, first=True)
        while reply["moves"] and not dry_run and not no_wait:
            failed = _follow(server, reply["moves"])
            if "max_moves" in body:
                body["max_moves"] -= len(reply["moves"])
            if failed or body.get("max_moves") == 0:
                break
            reply = server.rebalance(**body)  # what has left may have made room for more
            done = {**reply, **{name: [*done[name], *reply[name]] for name in ("moves", "freed")}}
            _show(form, reply)
    if form is not output.Form.TABLE:
        output.write(form, columns.MOVES, done["moves"], identity=lambda move: move["replica_model_uid"], data=done)
    for reason in failed:
        failures.say(reason)
    for text in reply["unmet"]:
        failures.say(f"There would still be no room for {text}." if dry_run else f"There is no room for {text}.")
    ctx.exit(failures.FAILED if failed or reply["unmet"] else failures.OK)


def _show(form: output.Form, reply: connect.Row, first: bool = False) -> None:
    """People see what begins as it begins; programs have everything at the end."""
    if form is not output.Form.TABLE or not (first or reply["moves"]):
        return
    output.write(form, columns.MOVES, reply["moves"], identity=lambda move: move["replica_model_uid"], empty="Nothing would be gained.")
    if reply["freed"]:
        output.note(f"Free as a whole when this is done: {', '.join(reply['freed'])}.")


def _follow(server: connect.Server, moves: list[dict[str, Any]]) -> list[str]:
    """Look until each has moved or has failed to; why those have failed."""
    failed: list[str] = []
    left = list(moves)
    try:
        while left:
            there = {row["replica_model_uid"]: row for row in server.all_replicas(server.models())}
            for move in list(left):
                old, new = there.get(move["replica_model_uid"]), there.get(move["successor"])
                if old is None:
                    output.note(f"{move['replica_model_uid']} has moved to {move['to_slot']}: it is {move['successor']} now.")
                elif new is None:
                    failed.append(f"{move['replica_model_uid']} was not moved: {_reason(old)}")
                else:
                    continue
                left.remove(move)
            if left:
                time.sleep(POLL)
    except KeyboardInterrupt:
        output.note("The moves go on; `xinfer ps` shows how far they are.")
        raise
    return failed


def _reason(old: dict[str, Any]) -> str:
    return str(old.get("error_message") or "its successor was removed.").removeprefix("It was not moved: ")
