"""The REST port over TLS: with one API process and with two, for the SDK, the command line, published clients and workers."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import httpx
import openai
import pytest

import xinfer
from tests.support.certificates import Certificate, make_certificate
from tests.support.cluster import Cluster, until
from xinfer.client import Retry
from xinfer.errors import Unreachable

DOCS = ["The mountain is 8849 metres high.", "Bananas are yellow."]


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


def ready(cluster: Cluster, certificate: Certificate) -> bool:
    context = ssl.create_default_context(cafile=str(certificate.certfile))
    try:
        return httpx.get(f"{secure(cluster)}/readyz", verify=context, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def secure(cluster: Cluster) -> str:
    return f"https://127.0.0.1:{cluster.port}"


@pytest.mark.parametrize("processes", [1, 2])
def test_everything_over_tls(
    cluster: Cluster, certificate: Certificate, reranker_onnx: Path, minilm_embedding: Path, processes: int
) -> None:
    files = ["--ssl-certfile", str(certificate.certfile), "--ssl-keyfile", str(certificate.keyfile)]
    server = cluster.begin("xinfer-supervisor", "--port", str(cluster.port), "--api-processes", str(processes), *files)
    until(lambda: ready(cluster, certificate), "the REST port ready over TLS", 60)
    cluster.extra_env = {"XINFER_ENDPOINT": secure(cluster), "XINFER_CA_FILE": str(certificate.certfile)}
    cluster.begin("xinfer-worker", "-e", secure(cluster), "--cpu-slots", "2", "--ca-file", str(certificate.certfile))
    until(lambda: len(json.loads(cluster.run("slots", "--json").stdout)["workers"]) == 1, "the worker joined over TLS", 60)
    cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    cluster.launch("-t", "embedding", "-mp", str(minilm_embedding), "-u", "emb", "-en", "sentence_transformers")

    with xinfer.Client(secure(cluster), ca_file=str(certificate.certfile)) as client:
        assert len(client.rerank("ce", "how high", DOCS * 400).results) == 800
    context = ssl.create_default_context(cafile=str(certificate.certfile))
    with httpx.Client(verify=context) as http:
        reply = openai.OpenAI(api_key="any", base_url=f"{secure(cluster)}/v1", http_client=http).embeddings.create(model="emb", input=DOCS)
    assert len(reply.data) == 2

    cluster.extra_env["XINFER_CA_FILE"] = ""
    with pytest.raises(Unreachable, match="is not trusted"), xinfer.Client(secure(cluster), retry=Retry(attempts=1)) as client:
        client.list()
    done = cluster.run("list", ok=False)
    assert (done.returncode, "is not trusted" in done.stderr, "--ca-file" in done.stderr) == (3, True, True)
    assert cluster.run("list", "-q", "--ca-file", str(certificate.certfile)).stdout.split() == ["ce", "emb"]

    # Plain HTTP, noise, silence and a connection that is given up on: the server goes on and says nothing of it.
    with pytest.raises(httpx.HTTPError):
        httpx.get(cluster.url + "/healthz", timeout=5)
    silent = [socket.create_connection(("127.0.0.1", cluster.port)) for _ in range(20)]
    for noise in (b"\x16\x03\x01" + b"\xff" * 400, b"\x00" * 64):
        with socket.create_connection(("127.0.0.1", cluster.port)) as link:
            link.sendall(noise)
    assert all(ready(cluster, certificate) for _ in range(10))
    for link in silent:
        link.close()
    assert ready(cluster, certificate)
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
    assert "https://127.0.0.1" in server.log.read_text()


def test_what_cannot_serve_is_refused_before_anything_starts(cluster: Cluster, certificate: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "other")
    cert, key = ["--ssl-certfile", str(certificate.certfile)], ["--ssl-keyfile", str(certificate.keyfile)]
    for command in ("serve", "supervisor"):
        for flags, sentence in (
            (cert, "--ssl-keyfile must be given too"),
            (key, "--ssl-certfile must be given too"),
            ([*cert, "--ssl-keyfile", str(tmp_path / "none")], "cannot be read"),
            ([*cert, "--ssl-keyfile", str(other.keyfile)], "must be the key of the certificate"),
        ):
            done = cluster.run(command, "--port", str(cluster.port), *flags, ok=False, timeout=30)
            assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
