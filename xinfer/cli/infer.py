"""`xinfer rerank` and `xinfer embed`."""

from __future__ import annotations

from pathlib import Path

import click

from xinfer.cli import columns, connect, options, output

TEXTS = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command(help="Order documents by relevance to a query; `-` reads them from stdin, one per line.")
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@click.option("-u", "--model-uid", required=True, metavar="UID", help="A running reranker.")
@click.option("-q", "--query", required=True, help="What to look for.")
@click.option("--file", type=TEXTS, help="Documents, one per line; - for stdin.")
@click.option("--top-n", type=int, metavar="N", help="Only the best N.")
@options.connected()
@options.reading(short=False)
def rerank(
    documents: tuple[str, ...],
    model_uid: str,
    query: str,
    file: Path | None,
    top_n: int | None,
    endpoint: str,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Best first; the index is the document's place in the input."""
    form = output.form_for(as_json, quiet)
    texts = read_texts(documents, file, "document")
    with connect.open_server(endpoint, api_key) as server:
        reply = server.rerank(model_uid, query, texts, top_n)
    rows = [{**result, "text": texts[result["index"]]} for result in reply["results"]]
    output.write(form, columns.SCORES, rows, identity=lambda row: row["index"], data=reply)


@click.command(help="Turn texts into vectors; `-` reads them from stdin, one per line.")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("-u", "--model-uid", required=True, metavar="UID", help="A running embedding model.")
@click.option("--file", type=TEXTS, help="Texts, one per line; - for stdin.")
@click.option("--dimensions", type=int, metavar="N", help="Cut the vectors, where the model was trained for it.")
@options.connected()
@options.reading()
def embed(
    texts: tuple[str, ...],
    model_uid: str,
    file: Path | None,
    dimensions: int | None,
    endpoint: str,
    api_key: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """In the order of the input."""
    form = output.form_for(as_json, quiet)
    given = read_texts(texts, file, "text")
    with connect.open_server(endpoint, api_key) as server:
        reply = server.embed(model_uid, given, dimensions)
    output.write(form, columns.VECTORS, reply["data"], identity=lambda row: row["index"], data=reply)


def read_texts(arguments: tuple[str, ...], file: Path | None, noun: str) -> list[str]:
    """The arguments, or the lines of a file or of stdin; empty lines are left out.

    Raises:
        UsageError: none, or both.
    """
    if arguments == ("-",):
        arguments, file = (), Path("-")
    if arguments and file is not None:
        raise click.UsageError(f"Give {noun}s as arguments or with --file, not both.")
    if file is not None:
        with click.open_file(str(file), encoding="utf-8", errors="replace") as lines:
            arguments = tuple(line.rstrip("\n") for line in lines if line.strip())
    if not arguments:
        raise click.UsageError(f"Give at least one {noun}: as an argument, with --file, or `-` for stdin.")
    return list(arguments)
