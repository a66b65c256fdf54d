"""TLS of the REST port: its certificate where it is served, whom to trust where it is called."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from xinfer.errors import ConfigError
from xinfer.settings import Tls

CERTFILE, KEYFILE, CA_FILE = "--ssl-certfile", "--ssl-keyfile", "--ca-file"


def paired(certfile: Path | None, keyfile: Path | None) -> Tls | None:
    """Both files, or neither; absolute, so that every process finds them.

    Raises:
        ConfigError: one of them is missing, or they do not serve (as ``serving`` says).
    """
    if certfile is None and keyfile is None:
        return None
    if certfile is None or keyfile is None:
        given, missing = (CERTFILE, KEYFILE) if keyfile is None else (KEYFILE, CERTFILE)
        raise ConfigError(f"{missing} must be given too: {given} alone makes no TLS.", param=missing)
    tls = Tls(certfile.absolute(), keyfile.absolute())
    serving(tls)
    return tls


def serving(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer with that certificate.

    Raises:
        ConfigError: a file that cannot be read or is no PEM, a key with a pass phrase, or that of another certificate.
    """
    for flag, file in ((CERTFILE, tls.certfile), (KEYFILE, tls.keyfile)):
        _readable(flag, file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certfile, tls.keyfile, password=_no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message, param = f"{KEYFILE} {tls.keyfile} must be the key of the certificate {tls.certfile}; it is another's.", KEYFILE
        else:
            message = f"{CERTFILE} {tls.certfile} and {KEYFILE} {tls.keyfile} must be a certificate and its key in PEM format"
            message, param = f"{message}: {error.reason or error}.", CERTFILE
        raise ConfigError(message, param=param) from error
    return context


def _no_pass_phrase() -> str:
    raise ConfigError(f"{KEYFILE} must hold a key without a pass phrase: nobody is there to type it.", param=KEYFILE)


@cache
def _system() -> ssl.SSLContext:
    """Made once: reading all authorities takes 20 to 50 ms of CPU, and a thousand workers of one process look for their supervisor."""
    return ssl.create_default_context()


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Servers whose certificate that authority signed; None = those that the system trusts.

    Raises:
        ConfigError: a file that cannot be read or holds no certificate.
    """
    if ca_file is None:
        return _system()
    _readable(CA_FILE, ca_file)
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError as error:
        raise ConfigError(f"{CA_FILE} {ca_file} must hold certificates in PEM format.", param=CA_FILE) from error


def _readable(flag: str, file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} {file} cannot be read: {error.strerror}.", param=flag) from error
