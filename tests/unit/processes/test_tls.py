"""What TLS needs is asked for before anything starts, in one sentence each."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.support.certificates import Certificate, make_certificate
from xinfer.errors import ConfigError
from xinfer.processes.tls import paired, serving, trusting
from xinfer.settings import Tls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def good(folder: Path) -> Certificate:
    return make_certificate(folder)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> str | None:
    """The protocol that both agree on, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(to_server, to_client, server_side=True)
    other = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (other, one):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return other.version()


def test_a_pair_serves_those_who_trust_it(good: Certificate) -> None:
    tls = paired(good.certfile, good.keyfile)
    assert tls == Tls(good.certfile, good.keyfile)
    assert tls is not None
    assert handshake(serving(tls), trusting(good.certfile)) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(serving(tls), trusting(None))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(serving(tls), trusting(good.certfile), "elsewhere")


def test_old_protocols_are_not_spoken(good: Certificate) -> None:
    assert serving(Tls(good.certfile, good.keyfile)).minimum_version is ssl.TLSVersion.TLSv1_2


def test_neither_is_plain_http_and_one_alone_is_refused(good: Certificate) -> None:
    assert paired(None, None) is None
    with pytest.raises(ConfigError, match="--ssl-keyfile must be given too") as error:
        paired(good.certfile, None)
    assert error.value.param == "--ssl-keyfile"
    with pytest.raises(ConfigError, match="--ssl-certfile must be given too"):
        paired(None, good.keyfile)


def test_files_that_cannot_serve_are_named(good: Certificate, folder: Path) -> None:
    other = make_certificate(folder, "other")
    locked = make_certificate(folder, "locked", pass_phrase="open sesame")
    words = folder / "words.txt"
    words.write_text("no PEM")
    for certfile, keyfile, sentence in (
        (folder / "none", good.keyfile, "--ssl-certfile .*none cannot be read: No such file"),
        (good.certfile, folder, "--ssl-keyfile .* cannot be read: Is a directory"),
        (good.certfile, other.keyfile, "must be the key of the certificate .*; it is another's"),
        (words, good.keyfile, "must be a certificate and its key in PEM format"),
        (good.certfile, words, "must be a certificate and its key in PEM format"),
        (locked.certfile, locked.keyfile, "--ssl-keyfile must hold a key without a pass phrase"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            paired(certfile, keyfile)


def test_whom_to_trust_is_named_too(folder: Path) -> None:
    (folder / "empty").write_text("")
    for file, sentence in ((folder / "none", "--ca-file .* cannot be read"), (folder / "empty", "--ca-file .* must hold certificates")):
        with pytest.raises(ConfigError, match=sentence):
            trusting(file)
