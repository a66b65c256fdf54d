"""API keys on a real server: made on its host, taken by the published clients, gone from every process once revoked, in no log."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import cohere
import httpx
import openai
import pytest
from xinference_client import RESTfulClient

import xinfer
from tests.support.cluster import Cluster, until
from xinfer.access import secret
from xinfer.client import Retry
from xinfer.errors import Forbidden, ModelNotFound, Unauthorized

DOCS = ["The mountain is 8849 metres high.", "Bananas are yellow."]
HUB_TOKEN = "hf_" + "aB3" * 10
TOKEN = "a-token-of-this-cluster-that-nobody-logs"


@dataclass
class Guarded:
    """A server with two API processes and the keys it was given first."""

    cluster: Cluster
    root: str
    emb: str
    root_of_models: Path

    def sdk(self, key: str | None) -> xinfer.Client:
        return xinfer.Client(self.cluster.url, key, retry=Retry(attempts=1))


@pytest.fixture(scope="module")
def guarded(shared_cluster: Cluster, reranker_onnx: Path, minilm_embedding: Path) -> Guarded:
    shared_cluster.extra_env = {"XINFER_CLUSTER_TOKEN": TOKEN, "HF_TOKEN": HUB_TOKEN}
    roots = ["--model-root", str(minilm_embedding)]
    shared_cluster.serve("-H", "0.0.0.0", "--cpu-slots", "2", "--api-processes", "2", "--log-level", "debug", *roots)
    shared_cluster.launch("-t", "rerank", "-mp", str(reranker_onnx), "-u", "ce")
    shared_cluster.launch("-t", "embedding", "-mp", str(minilm_embedding), "-u", "emb", "-en", "sentence_transformers")
    first = shared_cluster.run("key", "create", "ci", ok=False)
    assert "admin must be true for the first key" in first.stderr
    root = shared_cluster.run("key", "create", "root", "--admin").stdout.strip()
    emb = shared_cluster.run("key", "create", "emb-only", "--allow", "infer:emb", "-ak", root).stdout.strip()
    return Guarded(shared_cluster, root, emb, minilm_embedding)


def fresh(server: Guarded, name: str, *flags: str) -> str:
    return server.cluster.run("key", "create", name, *flags, "-ak", server.root).stdout.strip()


def statuses(server: Guarded, key: str, times: int = 12) -> set[int]:
    """Of as many new connections, so that both API processes are asked; 0 where nobody listens."""
    found = set()
    for _ in range(times):
        try:
            found.add(httpx.get(f"{server.cluster.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code)
        except httpx.TransportError:
            found.add(0)
    return found


def test_openai_with_the_right_key_the_wrong_one_and_none(guarded: Guarded) -> None:
    def embed(key: str, model: str = "emb") -> int:
        client = openai.OpenAI(api_key=key, base_url=guarded.cluster.url + "/v1", max_retries=0)
        return len(client.embeddings.create(model=model, input=DOCS).data)

    assert embed(guarded.emb) == embed(guarded.root) == 2
    for wrong in ("any", secret.make(bytes(36))[1]):
        with pytest.raises(openai.AuthenticationError):
            embed(wrong)
    with pytest.raises(openai.PermissionDeniedError, match="may not send requests to ce"):
        embed(guarded.emb, "ce")
    assert httpx.get(f"{guarded.cluster.url}/v1/models").status_code == 401


def test_cohere_and_xinference_clients_send_it_too(guarded: Guarded) -> None:
    reply = cohere.ClientV2(guarded.root, base_url=guarded.cluster.url).rerank(model="ce", query="how high", documents=DOCS)
    assert {r.index for r in reply.results} == {0, 1}
    with pytest.raises(cohere.core.api_error.ApiError) as error:
        cohere.ClientV2(guarded.emb, base_url=guarded.cluster.url).rerank(model="ce", query="how high", documents=DOCS)
    assert error.value.status_code == 403
    client = RESTfulClient(guarded.cluster.url, api_key=guarded.root)
    assert set(client.list_models()) == {"ce", "emb"}
    log_in = RESTfulClient(guarded.cluster.url)
    log_in.login("me", guarded.emb)
    assert set(log_in.list_models()) == {"emb"}


def test_a_revoked_key_is_gone_from_every_process_when_that_is_answered(guarded: Guarded) -> None:
    key = fresh(guarded, "leaked")
    assert until(lambda: statuses(guarded, key) == {200}, "the new key taken everywhere", 5)
    guarded.cluster.run("key", "revoke", "leaked", "-ak", guarded.root)
    begun = time.monotonic()
    until(lambda: statuses(guarded, key) == {401}, "the revoked key refused everywhere", 5)
    assert time.monotonic() - begun < 3
    with guarded.sdk(key) as client, pytest.raises(Unauthorized, match="leaked was revoked"):
        client.list()


def test_an_expired_key_is_refused(guarded: Guarded) -> None:
    key = fresh(guarded, "brief", "--expires", "3s")
    with guarded.sdk(key) as client:
        assert client.embed("emb", DOCS).vectors
        until(lambda: statuses(guarded, key, 2) == {401}, "the key expired", 10)
        with pytest.raises(Unauthorized, match="brief has expired"):
            client.embed("emb", DOCS)


def test_launch_and_stop_by_uid_within_the_model_roots(guarded: Guarded, reranker_onnx: Path) -> None:
    key = fresh(guarded, "team", "--allow", "launch,stop,infer:own")
    with guarded.sdk(key) as client:
        for path in (str(reranker_onnx), f"{guarded.root_of_models}/../{reranker_onnx.name}", "/etc"):
            with pytest.raises(Forbidden, match="model_path must be within") as error:
                client.launch(model_path=path, model_type="rerank", model_uid="own")
            assert error.value.param == "model_path"
        with pytest.raises(Forbidden, match="may not launch or change ce"):
            client.launch(model_path=str(guarded.root_of_models), model_uid="ce")
        with pytest.raises(Forbidden, match="trust_remote_code"):
            client.launch(model_path=str(guarded.root_of_models), model_uid="own", trust_remote_code=True)
        client.launch(model_path=str(guarded.root_of_models), model_type="embedding", model_uid="own", model_engine="sentence_transformers")
        assert client.embed("own", DOCS).vectors
        assert [model.id for model in client.list()] == ["own"]
        with pytest.raises(ModelNotFound):
            client.show("ce")
        with pytest.raises(Forbidden, match="may not stop ce"):
            client.stop("ce")
        client.stop("own")
        with pytest.raises(ModelNotFound) as gone:
            client.stop("own")
        assert "ce" not in str(gone.value).split(), "models of others are not named"


def test_a_replicas_log_is_for_those_who_manage_it_and_tells_no_secret(guarded: Guarded) -> None:
    (file,) = (guarded.cluster.home / "logs").rglob("ce-0.stderr")
    size = file.stat().st_size
    with file.open("a") as log:
        log.write(f"a library prints {guarded.root} and {TOKEN} and {HUB_TOKEN} here\n")
    for who, allow in (("watcher", "read"), ("other", "launch:emb"), ("client", "infer,stop")):
        with guarded.sdk(fresh(guarded, who, "--allow", allow)) as client, pytest.raises(Forbidden, match="may not launch or change ce"):
            client.logs("ce", 0)
    for key in (fresh(guarded, "manager", "--allow", "launch:ce"), guarded.root):
        with guarded.sdk(key) as client:
            assert "a library prints *** and *** and *** here" in client.logs("ce", 0).text
    os.truncate(file, size)  # a later test looks whether any of our own lines tells one


def test_no_process_shows_a_secret_in_its_arguments(guarded: Guarded) -> None:
    shown = " ".join(word for process in guarded.cluster.commands[0].tree() for word in process.cmdline())
    assert "xinfer" in shown
    assert not any(word in shown for word in (guarded.root, guarded.emb, TOKEN, HUB_TOKEN))


def test_the_command_line_takes_a_key_and_says_what_is_missing(guarded: Guarded) -> None:
    guarded.cluster.extra_env["XINFER_API_KEY"] = guarded.root
    try:
        assert guarded.cluster.run("list", "-q").stdout.split() == ["ce", "emb"]
        listed = guarded.cluster.run("key", "list").stdout
        assert {"root", "emb-only"} <= {line.split("\t")[0] for line in listed.splitlines()}
    finally:
        del guarded.cluster.extra_env["XINFER_API_KEY"]
    done = guarded.cluster.run("list", ok=False)
    assert (done.returncode, "An API key is needed" in done.stderr, "--api-key" in done.stderr) == (1, True, True)
    assert "root" in guarded.cluster.run("key", "list").stdout, "whoever has the cluster token may list keys"
    done = guarded.cluster.run("key", "revoke", "root", ok=False)
    assert "root is the last key of an admin" in done.stderr


def test_probes_are_open_and_figures_are_not(guarded: Guarded) -> None:
    url = guarded.cluster.url
    assert [httpx.get(url + path).status_code for path in ("/healthz", "/health", "/readyz", "/v1/address")] == [200] * 4
    assert httpx.get(f"{url}/metrics").status_code == 401
    scraper = fresh(guarded, "prometheus", "--allow", "read")
    assert "xinfer_http_requests_total" in httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {scraper}"}).text


def test_keys_outlive_a_restart_and_no_secret_is_in_any_log_or_in_the_state(guarded: Guarded) -> None:
    """The last test of this file: it ends the server."""
    cluster = guarded.cluster
    with guarded.sdk(guarded.root) as client:
        with pytest.raises(Exception, match="is not"):
            client.launch(model_path=f"/nowhere/{guarded.emb}", model_uid="x")
    cluster.commands[0].stop()
    assert cluster.commands[0].log.read_text().count("no API key: whoever reaches the REST port") == 1
    cluster.commands[0].start()
    until(lambda: statuses(guarded, guarded.root, 1) == {200}, "the server is back with its keys", 60)
    assert statuses(guarded, "any", 4) == {401}
    until(lambda: guarded.sdk(guarded.emb).embed("emb", DOCS).vectors if _serves(guarded) else None, "it serves again", 60)
    cluster.commands[0].stop()
    assert cluster.commands[0].log.read_text().count("no API key: whoever reaches the REST port") == 1, "there were keys the second time"
    files = [file for file in cluster.home.rglob("*") if file.is_file() and file.suffix not in (".lock", ".token")]
    assert len(files) >= 3
    for file in files:
        content = file.read_bytes()
        for word in (guarded.root, guarded.emb, TOKEN, HUB_TOKEN):
            assert word.encode() not in content, file
    assert secret.digest(guarded.root).encode() in b"".join(file.read_bytes() for file in files), "the digest is what is kept"


def _serves(guarded: Guarded) -> bool:
    with guarded.sdk(guarded.root) as client:
        try:
            return all(model.ready_replicas for model in client.list())
        except xinfer.errors.XinferError:
            return False
