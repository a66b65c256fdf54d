"""`xinfer why`: where a request's time went, as a picture and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from xinfer.cli import connect, options, output
from xinfer.cli.output import Column, Row

if TYPE_CHECKING:
    from rich.text import Text

STAGES = (
    ("queue", "·", "dim"),
    ("tokenize", "▒", "cyan"),
    ("wait", "░", "yellow"),
    ("compute", "█", "green"),
    ("network", "─", "magenta"),
)
"""(name, how it is drawn, colour), in the order of time: what waits at the replica is drawn as one, and so is the network."""
LINES = 24
"""Most shards and batches that are drawn; --json has all that is remembered."""
RIVALS = 3


@click.command(help="Show where a recent request's time went, by its X-Request-ID.")
@click.argument("request_id", metavar="ID")
@options.connected()
@options.reading()
def why(request_id: str, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """Facts, a line of time per shard, then the numbers of shards, batches and failed attempts."""
    form = output.form_for(as_json, quiet)
    with connect.open_server(endpoint, api_key) as server:
        story = server.why(request_id)
    sent = sorted(story["shards"], key=lambda shard: shard["queue_seconds"])  # told as they were answered
    shards = [{**shard, "number": number} for number, shard in enumerate(sent, 1)]
    if form is not output.Form.TABLE:
        output.write(form, SHARDS, shards, identity=lambda row: row["replica_id"], data=story)
        return
    output.write_facts(facts(story))
    if shards:
        _draw(shards[:LINES])
        output.write_table(SHARDS, shards[:LINES], title="Shards")
        click.echo()
        output.write_table(PICKS, shards[:LINES], title="Picks")
        output.stdout_console().print("Score: seconds until it would be done there; tokens where no speed is known.", style="dim")
        batches = _batches(shards)
        click.echo()
        output.write_table(BATCHES, batches[:LINES], title="Batches")
        if len(batches) > LINES or story["shard_count"] > LINES:
            output.note(f"{story['shard_count']} shards in all; --json has what is remembered of them.")
    if story["attempts"]:
        click.echo()
        output.write_table(ATTEMPTS, story["attempts"], title="Attempts that failed")


def facts(story: Row) -> dict[str, str]:
    """What a person wants to know first."""
    cut = f", {story['truncated']} truncated" if story["truncated"] else ""
    names = [f"{replica['replica_id']} on {replica['slot'] or 'an unnamed slot'}" for replica in story["replicas"]]
    more = story["replica_count"] - len(names)
    return {
        "request": story["request_id"],
        "model": f"{story['model']}, {story['lane']} lane" + (", with an API key" if story["keyed"] else ""),
        "items": f"{story['items']}{cut}",
        "tokens": f"{story['tokens']:,} (estimated {story['estimated_tokens']:,})",
        "outcome": f"{story['outcome']} after {duration(story['seconds'])}",
        **({"message": story["message"]} if story["message"] else {}),
        **({"failures": f"calls that gave it no answer: {story['attempt_count']}"} if story["attempt_count"] else {}),
        **({"replicas": "\n".join([*names, *([f"and {more} more"] if more else [])])} if names else {}),
    }


def duration(seconds: float) -> str:
    """Three figures or so: ``0.42 ms``, ``18.3 ms``, ``1.24 s``."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    value = 1000 * seconds
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def bar(shard: Row, whole: float, width: int) -> list[tuple[str, int]]:
    """(stage, cells) of one shard on a line of ``width`` cells that stands for ``whole`` seconds.

    Edges are rounded, not lengths, so that bars under each other agree.
    """
    found, at, before = [], 0.0, 0
    for stage, _, _ in STAGES:
        at += shard[f"{stage}_seconds"]
        edge = min(width, round(width * at / whole)) if whole > 0 else 0
        found.append((stage, edge - before))
        before = edge
    return found


def _batches(shards: Sequence[Row]) -> list[Row]:
    """Each batch once, with all shards that it ran for: a replica merges what fits into one."""
    found: dict[tuple[object, ...], list[int]] = {}
    rows: dict[tuple[object, ...], Row] = {}
    for shard in shards:
        for batch in shard["batches"]:
            key = (shard["replica_id"], *batch.values())
            rows[key] = {**batch, "replica_id": shard["replica_id"], "shards": found.setdefault(key, [])}
            if shard["number"] not in found[key]:
                found[key].append(shard["number"])
    return list(rows.values())


def _draw(shards: Sequence[Row]) -> None:
    from rich.text import Text

    console = output.stdout_console()
    whole = max(shard["queue_seconds"] + shard["total_seconds"] for shard in shards)
    name = max(len(shard["replica_id"]) for shard in shards)
    width = max(10, min(100, console.width - name - 7))
    marks = {stage: (mark, style) for stage, mark, style in STAGES}
    head = Text(f"{'':{name + 7}}0{duration(whole):>{width - 1}}")
    console.print(head, style="dim", overflow="crop", no_wrap=True)
    for shard in shards:
        line = Text(f"{shard['number']:>4}  ")
        line.append(f"{shard['replica_id']:<{name + 1}}")
        for stage, cells in bar(shard, whole, width):
            mark, style = marks[stage]
            line.append(mark * cells, style=style)
        console.print(line, overflow="crop", no_wrap=True)
    console.print(_legend(), overflow="crop", no_wrap=True)
    console.print()


def _legend() -> Text:
    from rich.text import Text

    legend = Text("      ")
    for stage, mark, style in STAGES:
        legend.append(f"{mark}{mark} ", style=style)
        legend.append(f"{stage}   ", style="dim")
    return legend


def _score(shard: Row) -> float | None:
    return next((candidate["score"] for candidate in shard["candidates"] if candidate["won"]), None)


def _rivals(shard: Row) -> str:
    """Those that the pick was preferred to, the nearest first."""
    ranked = sorted((candidate["score"], candidate["replica_id"]) for candidate in shard["candidates"] if not candidate["won"])
    more = len(ranked) - RIVALS
    return ", ".join(f"{name} {score:.3g}" for score, name in ranked[:RIVALS]) + (f" and {more} more" if more > 0 else "")


def _seconds(name: str, drop: int = 0) -> Column:
    return Column(name, lambda row: row[f"{name}_seconds"], duration, right=True, drop=drop)


def _padding(padded: int, real: int) -> float | None:
    return padded / real if real else None


SHARDS = (
    Column("shard", lambda r: r["number"], right=True),
    Column("replica", lambda r: r["replica_id"]),
    Column("slot", lambda r: r["slot"], drop=9),
    Column("items", lambda r: r["items"], right=True),
    Column("of", lambda r: r["shard_items"], right=True, drop=6),
    Column("tokens", lambda r: r["shard_tokens"], right=True, drop=5),
    Column("padded", lambda r: r["padded_tokens"], right=True, drop=7),
    Column("oom", lambda r: r["oom_splits"], right=True, drop=8),
    _seconds("queue"),
    _seconds("tokenize", drop=4),
    _seconds("wait"),
    _seconds("compute"),
    _seconds("network", drop=3),
    _seconds("total"),
)
PICKS = (
    Column("shard", lambda r: r["number"], right=True),
    Column("picked", lambda r: r["replica_id"]),
    Column("score", _score, "{:.3g}".format, right=True),
    Column("instead of", _rivals, text="fold"),
)
BATCHES = (
    Column("replica", lambda r: r["replica_id"]),
    Column("shards", lambda r: r["shards"], right=True),
    Column("items", lambda r: r["items"], right=True),
    Column("longest", lambda r: r["longest"], right=True),
    Column("tokens", lambda r: r["real_tokens"], right=True),
    Column("padded", lambda r: r["padded_tokens"], right=True),
    Column("padding", lambda r: _padding(r["padded_tokens"], r["real_tokens"]), "{:.3f}".format, right=True),
    Column("time", lambda r: r["seconds"], duration, right=True),
)
ATTEMPTS = (
    Column("replica", lambda r: r["replica_id"]),
    Column("slot", lambda r: r["slot"], drop=2),
    Column("items", lambda r: r["items"], right=True, drop=1),
    Column("sent", lambda r: r["queue_seconds"], duration, right=True),
    Column("failed after", lambda r: r["seconds"], duration, right=True),
    Column("error", lambda r: r["error"]),
    Column("message", lambda r: r["message"], text="fold"),
)
