"""`xinfer bench`: put a load on any server and say what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xinfer.bench import load
from xinfer.cli import failures, options, output
from xinfer.cli.flags import debug
from xinfer.errors import ConfigError, Unreachable

if TYPE_CHECKING:
    from xinfer.bench.plan import Plan, Run

T = TypeVar("T")
FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


def read_cycle(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """``60,1``."""
    return None if value is None else _read(load.parse_sizes, value, ctx, param)


def read_words(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """``20-200``, or ``20``."""
    return _read(load.parse_words, value, ctx, param)


def _read(parse: Callable[[str], T], value: str, ctx: click.Context, param: click.Parameter) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command(help="Put a load on any server with /v1/rerank or /v1/embeddings, and measure it.")
@click.option(
    "-e",
    "--base-url",
    "--endpoint",
    "base_url",
    metavar="URL",
    envvar="XINFER_ENDPOINT",
    show_envvar=True,
    default=options.DEFAULT_ENDPOINT,
    show_default=True,
    help="The server, ours or another.",
)
@click.option("-u", "--model", "--model-uid", "model", required=True, metavar="UID", help="What to put into `model`.")
@click.option("--kind", type=click.Choice(["rerank", "embedding", "mixed"]), default="rerank", show_default=True, help="What to ask for.")
@click.option("--embedding-model", metavar="UID", help="The embedding model, where --kind is mixed.")
@click.option("-n", "--requests", metavar="N", type=click.IntRange(1), help="How many to send.  [default: 600, or no end with --duration]")
@click.option("--duration", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="Send none after so long.")
@click.option("--docs", metavar="N", type=click.IntRange(1), help="Documents or texts of a request.  [default: 20]")
@click.option("--docs-cycle", metavar="60,1", callback=read_cycle, help="Documents of one request after the other, in turn.")
@click.option("--words", metavar="LOW-HIGH", callback=read_words, default="20-200", show_default=True, help="Words of a document.")
@click.option("-c", "--concurrency", metavar="N", type=click.IntRange(1), help="So many clients, one request each.  [default: 32]")
@click.option("--rate", metavar="N", type=click.FloatRange(0, min_open=True), help="Requests a second instead, at random moments.")
@click.option("--background", metavar="N", type=click.IntRange(0), default=0, help="Keep N requests of 600 documents in flight beside.")
@click.option("--priority", type=click.Choice(["interactive", "bulk"]), help="The lane of the measured requests.")
@click.option("--seed", metavar="N", type=int, default=7, show_default=True, help="The same texts and moments for the same seed.")
@click.option("--warmup", metavar="N", type=click.IntRange(0), default=2, show_default=True, help="Requests before the clock starts.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Time for one request.",
)
@click.option("-ak", "--api-key", metavar="KEY", envvar="XINFER_API_KEY", show_envvar=True, help="Key, where the server asks for one.")
@click.option("--ca-file", type=FILE, metavar="FILE", envvar="XINFER_CA_FILE", show_envvar=True, help="Authority of an https server.")
@click.option("--json", "json_file", metavar="FILE", type=FILE, help="Write the figures; - for stdout, and nothing else there.")
@click.option("--svg", "svg_file", metavar="FILE", type=FILE, help="Draw how busy each slot was over time.")
@debug
@click.pass_context
def bench(ctx: click.Context, /, json_file: Path | None, svg_file: Path | None, **flags: Any) -> None:
    """Ends with 1 if any request failed."""
    try:
        from xinfer.bench import driver, report
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "aiohttp":
            raise
        raise ConfigError("xinfer bench needs the package aiohttp.", hint="Install it: pip install 'xinfer-runtime[bench]'") from None
    plan = read_plan(**flags)
    for file in (json_file, svg_file):
        require_folder(file)
    run = driver.run(plan)
    if json_file is not None:
        _write(json_file, json.dumps(report.as_json(plan, run), indent=2, ensure_ascii=False) + "\n")
    if svg_file is not None:
        _write(svg_file, draw(plan, run))
    if "-" not in (str(json_file), str(svg_file)):
        report.show(output.stdout_console(), plan, run)
    if run.summary.requests and not run.summary.ok and all(kind.startswith("connection") for kind, _, _ in run.summary.failures):
        raise Unreachable(f"No request reached {plan.base_url}: {run.summary.failures[0][2]}")
    if run.interrupted:
        ctx.exit(failures.INTERRUPTED)
    ctx.exit(failures.FAILED if run.failed else failures.OK)


def read_plan(
    *,
    kind: str,
    model: str,
    embedding_model: str | None,
    requests: int | None,
    duration: float | None,
    docs: int | None,
    docs_cycle: tuple[int, ...] | None,
    words: tuple[int, int],
    seed: int,
    concurrency: int | None,
    rate: float | None,
    priority: str | None,
    **rest: Any,
) -> Plan:
    """Flags that exclude or need each other, settled.

    Raises:
        UsageError: they contradict each other.
    """
    from xinfer.bench.plan import Plan

    if docs is not None and docs_cycle is not None:
        raise click.UsageError("--docs and --docs-cycle exclude each other.")
    if rate is not None and concurrency is not None:
        raise click.UsageError("--rate and --concurrency exclude each other: the one is an open loop, the other a closed one.")
    if (kind == "mixed") != (embedding_model is not None):
        raise click.UsageError("--kind mixed and --embedding-model need each other.")
    shape = load.Load(load.Kind(kind), model, embedding_model or "", docs_cycle or (docs or 20,), words, seed)
    count = 600 if requests is None and duration is None else requests
    return Plan(load=shape, requests=count, duration=duration, concurrency=concurrency or 32, rate=rate, priority=priority or "", **rest)


def require_folder(file: Path | None) -> None:
    """Say before the run, not after it, that its figures could not be written.

    Raises:
        UsageError: no such folder.
    """
    if file is not None and str(file) != "-" and not file.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {file.absolute().parent} to write {file.name} to.")


def draw(plan: Plan, run: Run) -> str:
    """The picture of a run."""
    from xinfer.bench import svg

    # The lanes' clock is that of their readings, the first just before the first request.
    seconds = max([run.summary.seconds, *(lane.points[-1][0] for lane in run.lanes if lane.points)])
    rate = f"{run.summary.documents_per_second:.1f} documents/s"
    return svg.picture(f"{plan.load.model}: {rate} over {run.summary.seconds:.1f} s", run.lanes, seconds)


def _write(file: Path, text: str) -> None:
    with click.open_file(str(file), "w", encoding="utf-8") as out:
        out.write(text)
