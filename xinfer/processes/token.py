"""The cluster token: whoever has it may run code in the cluster, so nobody listens beyond loopback without one.

It becomes ``XOSCAR_AUTH_KEY`` in every process, with which each message between actors is signed (not encrypted).
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from xinfer.errors import ConfigError
from xinfer.settings import Home

VARIABLE = "XINFER_CLUSTER_TOKEN"
FLAG = "--cluster-token-file"
MIN_LENGTH = 16


def resolve(env: Mapping[str, str], token_file: Path | None, home: Home, binds: Sequence[str]) -> str:
    """The token of this process: the file's, else the environment's, else on loopback the one kept in ``home``.

    Args:
        binds: hosts that actors will listen on.

    Raises:
        ConfigError: a bind that is no concrete address, or not loopback and without a token; a token that is too short; a
            file that others may read.
    """
    for bind in binds:
        if _is_wildcard(bind):
            raise ConfigError(
                f"Actors cannot listen on {bind or repr(bind)}: a worker's --host, or --supervisor-host, must be a concrete address of "
                "this machine, because actors hand it to each other.",
                param="--host",
            )
    if token_file is not None:
        return _checked(_read(token_file, FLAG), f"{FLAG} {token_file}")
    if env.get(VARIABLE):
        return _checked(env[VARIABLE].strip(), VARIABLE)
    outside = next((bind for bind in binds if not is_loopback(bind)), None)
    if outside is not None:
        raise ConfigError(
            f"Listening on {outside} needs a cluster token: run `export {VARIABLE}=$(openssl rand -hex 32)` once and give every "
            f"host that value, or pass {FLAG} PATH.",
            param=FLAG,
        )
    return _local(home.token)


def known(env: Mapping[str, str], token_file: Path | None, home: Home) -> str | None:
    """The token that this user has, if there is one; none is made.

    Raises:
        ConfigError: it is too short, or others may read it.
    """
    if token_file is not None or env.get(VARIABLE) or os.path.isfile(home.token):
        return resolve(env, token_file, home, ())
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect; names other than ``localhost`` count as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    if host in ("", "*"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def _checked(token: str, source: str) -> str:
    if len(token) < MIN_LENGTH:
        raise ConfigError(f"{source} must hold at least {MIN_LENGTH} characters, not {len(token)}.", param=FLAG)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{source} must hold one line of printable ASCII without spaces.", param=FLAG)
    return token


def _read(path: Path, name: str) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name} {path} cannot be read: {getattr(error, 'strerror', error)}.", param=FLAG) from error
    if mode & 0o077:
        raise ConfigError(f"{name} {path} may be read by others: run `chmod 600 {path}`.", param=FLAG)
    return token


def _local(path: Path) -> str:
    """Read the token at ``path``, made first if it is missing; of two that make it at once, both get the same one."""
    if not path.exists():
        draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "w", encoding="ascii") as file:
                    file.write(secrets.token_hex(32) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                # Unlike a rename, a link never replaces what another process made meanwhile.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        except OSError as error:
            raise ConfigError(f"XINFER_HOME must be writable; {path} cannot be made: {error.strerror}.", param="XINFER_HOME") from error
    return _checked(_read(path, "The cluster token"), f"The cluster token {path}")
