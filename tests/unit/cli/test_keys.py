"""`xinfer key`: the secret alone on stdout, and who asks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import FakeServer, error, run
from xinfer.access import secret

SECRET = secret.make(bytes(36))[1]
TOKEN = "a-cluster-token-long-enough"


def entry(name: str = "ci", **fields: Any) -> dict[str, Any]:
    return {"id": "00000001", "name": name, "admin": False, "allow": ["infer:*"], "state": "valid", "created_at": 1.7e9} | fields


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: FakeServer) -> Path:
    monkeypatch.setenv("XINFER_HOME", str(tmp_path))
    return tmp_path


def asked_as(server: FakeServer) -> str:
    return server.requests[-1].headers.get("authorization", "").removeprefix("Bearer ")


def test_create_prints_the_secret_and_says_what_it_may(server: FakeServer) -> None:
    server.on("POST", "/v1/keys", {**entry(allow=["infer:ce", "stop:ce"]), "secret": SECRET})
    done = run("key", "create", "ci", "--allow", "infer,stop:ce", "--expires", "2d", "-ak", "k")
    assert done.stdout == SECRET + "\n"
    assert "ci may infer:ce, stop:ce" in done.stderr
    assert SECRET not in done.stderr
    assert server.sent("POST", "/v1/keys") == {"name": "ci", "admin": False, "allow": ["infer,stop:ce"], "expires_in": 172_800.0}
    assert asked_as(server) == "k"


def test_an_admin_and_json(server: FakeServer) -> None:
    server.on("POST", "/v1/keys", {**entry("root", admin=True, allow=[]), "secret": SECRET})
    done = run("key", "create", "root", "--admin", "--json")
    assert json.loads(done.stdout)["secret"] == SECRET
    assert server.sent("POST", "/v1/keys") == {"name": "root", "admin": True}


def test_without_a_key_whoever_has_the_cluster_token_proves_it(server: FakeServer, no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on("GET", "/v1/keys", {"keys": []})
    run("key", "list")
    assert asked_as(server) == "", "nothing to prove, and no token was made for it"
    assert not (no_home / "cluster.token").exists()
    file = no_home / "cluster.token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    run("key", "list")
    assert secret.proves(asked_as(server), TOKEN, time.time())
    run("key", "list", "-ak", "k")
    assert asked_as(server) == "k", "a key goes before it"
    run("key", "list", "-ak", "k", "--cluster-token-file", str(file))
    assert secret.proves(asked_as(server), TOKEN, time.time()), "but not before one that is named"
    monkeypatch.setenv("XINFER_CLUSTER_TOKEN", "another-token-of-a-cluster")
    run("key", "list")
    assert secret.proves(asked_as(server), "another-token-of-a-cluster", time.time())


def test_list_and_revoke(server: FakeServer) -> None:
    server.on("GET", "/v1/keys", {"keys": [entry("root", admin=True, allow=[]), entry(id="2", state="expired", expires_at=1.8e9)]})
    lines = run("key", "list").stdout.splitlines()
    assert lines[0].split("\t") == ["key", "id", "may", "state", "created", "expires"]
    assert lines[1].split("\t")[:4] == ["root", "00000001", "everything", "valid"]
    assert lines[2].split("\t")[:4] == ["ci", "2", "infer:*", "expired"]
    assert run("key", "list", "-q").stdout.split() == ["00000001", "2"]
    server.on("DELETE", "/v1/keys/ci", entry(state="revoked", revoked_at=1.9e9))
    assert "ci is revoked." in run("key", "revoke", "ci").stderr
    server.on("DELETE", f"/v1/keys/{secret.id_of(SECRET)}", entry(state="revoked", revoked_at=1.9e9))
    assert "ci is revoked." in run("key", "revoke", SECRET).stderr, "by its id: the secret is in no path"


def test_what_went_wrong_and_what_helps(server: FakeServer) -> None:
    server.on("DELETE", "/v1/keys/ci", (404, error("key_not_found", "There is no key 'ci'.")))
    done = run("key", "revoke", "ci")
    assert (done.exit_code, "`xinfer key list`" in done.stderr) == (4, True)
    server.on("GET", "/v1/keys", (403, error("forbidden", "The key ci may not see keys.")))
    done = run("key", "list")
    assert (done.exit_code, "The key ci may not see keys." in done.stderr) == (1, True)
    server.on("GET", "/v1/keys", (401, error("unauthorized", "The API key old has expired.")))
    done = run("key", "list", "-ak", "k")
    assert (done.exit_code, "leave out --api-key and XINFER_API_KEY" in done.stderr) == (1, True)


@pytest.mark.parametrize("text", ["30", "d", "-1d", "0s", "1y", "1d2h"])
def test_a_duration_that_means_nothing_is_refused(server: FakeServer, text: str) -> None:
    done = run("key", "create", "ci", "--expires", text)
    assert done.exit_code == 2
    assert "such as 30d" in done.stderr
    assert server.requests == []
