"""`xinfer key`: API keys, once there is one of which the server asks for them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from xinfer.access import secret
from xinfer.cli import columns, connect, flags, options, output
from xinfer.errors import Unauthorized
from xinfer.processes import token

KEYLESS = "On the server's host, or with --cluster-token-file, this needs no key: leave out --api-key and XINFER_API_KEY."
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """``30d``, ``12h``: seconds."""
    if value is None:
        return None
    found = _DURATION.fullmatch(value.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise click.BadParameter(f"must be a number with s, m, h, d or w, such as 30d, not {value!r}.", ctx, param)
    return seconds


host_token = click.option(
    "--cluster-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The cluster token, that may make keys too.  [env: XINFER_CLUSTER_TOKEN; default: the one in XINFER_HOME]",
)


@click.group(help="Make, list and revoke API keys. Once there is one, every request needs a key.")
@flags.debug
def key() -> None:
    """On the server's host, or with the cluster token, no key is needed for this."""


@key.command(help="Make a key and print its secret, this once. The first must be an admin's.")
@click.argument("name")
@click.option("--admin", is_flag=True, help="It may do everything.")
@click.option(
    "--allow",
    multiple=True,
    metavar="ACTION[:MODEL]",
    help="infer, launch, stop or read; of one model, by its uid, or of all; repeatable.  [default: infer]",
)
@click.option("--expires", "expires_in", callback=read_duration, metavar="30d", help="How long it is good.  [default: until it is revoked]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@host_token
@options.connected()
def create(
    name: str,
    admin: bool,
    allow: tuple[str, ...],
    expires_in: float | None,
    as_json: bool,
    cluster_token_file: Path | None,
    endpoint: str,
    api_key: str | None,
) -> None:
    """The secret alone is on stdout."""
    with _server(endpoint, api_key, cluster_token_file) as server:
        made = server.create_key(name, admin=admin, allow=list(allow) or None, expires_in=expires_in)
    if as_json:
        output.write_json(made)
        return
    output.note(f"{name} may {'do everything' if made['admin'] else ', '.join(made['allow'])}. Its key, shown this once:")
    click.echo(made["secret"])


@key.command(name="list", help="List keys, expired and revoked ones too.")
@host_token
@options.connected()
@options.reading()
def list_keys(cluster_token_file: Path | None, endpoint: str, api_key: str | None, as_json: bool, quiet: bool) -> None:
    """Never a secret."""
    form = output.form_for(as_json, quiet)
    with _server(endpoint, api_key, cluster_token_file) as server:
        found = server.keys()
    output.write(form, columns.KEYS, found, identity=lambda row: row["id"], empty="There is no key: everyone may use the server.")


@key.command(help="Revoke keys, by name or id, or by the secret itself.")
@click.argument("name", nargs=-1, required=True)
@host_token
@options.connected()
def revoke(name: tuple[str, ...], cluster_token_file: Path | None, endpoint: str, api_key: str | None) -> None:
    """No server takes them any more."""
    with _server(endpoint, api_key, cluster_token_file) as server:
        for each in name:
            # Of a secret only its id goes over the wire, where others might note the path.
            output.note(f"{server.revoke_key(secret.id_of(each) or each)['name']} is revoked.")


@contextmanager
def _server(endpoint: str, api_key: str | None, token_file: Path | None) -> Iterator[connect.Server]:
    """With that key, without one by the cluster token; a token that is named goes before a key of the environment."""
    by_key = token_file is None and bool(api_key)
    try:
        with connect.open_server(endpoint, api_key if by_key else proof(token_file)) as server:
            yield server
    except Unauthorized as error:
        if by_key:
            error.details.setdefault("hint", KEYLESS)
        raise


def proof(token_file: Path | None) -> str | None:
    """That this user has the cluster token; None without one."""
    known = token.known(os.environ, token_file, flags.home_from(None))
    return None if known is None else secret.proof(known, time.time())
