"""`xinfer chat`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import click

from xinfer.cli import connect, options
from xinfer.cli.connect import Row, Server


@dataclass(frozen=True, slots=True)
class _How:
    model: str
    max_tokens: int | None
    temperature: float | None
    seed: int | None


@click.command(help="Say something to a chat model, or talk with it line by line.")
@click.argument("message", required=False)
@click.option("-u", "--model-uid", required=True, metavar="UID", help="A running LLM.")
@click.option("-s", "--system", metavar="TEXT", help="How it is to behave.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Of an answer.  [default: what the context has room for]")
@click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="0: always the likeliest word.")
@click.option("--seed", type=int, metavar="N", help="The same again for the same seed.")
@options.connected()
def chat(
    message: str | None,
    model_uid: str,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    seed: int | None,
    endpoint: str,
    api_key: str | None,
) -> None:
    """Answers to stdout as they come; how fast they came, to stderr."""
    how = _How(model_uid, max_tokens, temperature, seed)
    talk: list[Row] = [{"role": "system", "content": system}] if system else []
    with connect.open_server(endpoint, api_key) as server:
        if message is not None:
            _say(server, how, talk, sys.stdin.read() if message == "-" else message)
            return
        while (line := _line()) is not None:
            if line.strip():
                _say(server, how, talk, line)


def _line() -> str | None:
    """The next line; None at the end of the input."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _say(server: Server, how: _How, talk: list[Row], text: str) -> None:
    talk.append({"role": "user", "content": text})
    begun, first, answer, reason = time.monotonic(), None, "", None
    for piece in server.chat(how.model, talk, max_tokens=how.max_tokens, temperature=how.temperature, seed=how.seed):
        if first is None and (piece.text or piece.reasoning):
            first = time.monotonic() - begun
        click.echo(click.style(piece.reasoning, dim=True), nl=False, err=True)
        click.echo(piece.text, nl=False)
        answer += piece.text
        reason = piece.finish_reason or reason
        if piece.usage is not None:
            click.echo()
            _tell(piece.usage.completion_tokens, time.monotonic() - begun, first, reason)
    talk.append({"role": "assistant", "content": answer})


def _tell(tokens: int, seconds: float, first: float | None, reason: str | None) -> None:
    said = [f"{tokens} tokens", f"{tokens / seconds:.1f} tokens/s", f"first after {(first or seconds) * 1000:.0f} ms"]
    cut = [", cut off by --max-tokens or the context"] if reason == "length" else []
    click.echo(click.style(", ".join(said) + "".join(cut), dim=True), err=True)
