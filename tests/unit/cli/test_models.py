"""`list`, `ps`, `show`, `stop`, `registrations`, `slots`, `version`: table, TSV, JSON, ids."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import ADDRESS, FakeServer, error, model, models, replica, run, slots_reply
from xinfer import __version__

REPLICAS = [replica(0), replica(1, "backoff", device=None, devices=[], error_message="it broke")]


@pytest.fixture
def cluster(server: FakeServer) -> FakeServer:
    server.on("GET", "/v1/models", models(model()))
    server.on("GET", "/v1/models/rr", model())
    server.on("GET", "/v1/models/rr/replicas", [r.model_dump() for r in REPLICAS])
    server.on("GET", "/v1/cluster/slots", slots_reply(waiting=True))
    return server


def tsv(text: str) -> list[dict[str, str]]:
    header, *rows = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_list(cluster: FakeServer) -> None:
    assert tsv(run("list").stdout) == [
        {
            "model": "rr",
            "name": "ms-marco-MiniLM-L-12-v2",
            "type": "rerank",
            "engine": "onnxruntime",
            "dtype": "float32",
            "ready": "1/2",
            "status": "updating",
        }
    ]
    assert run("list", "-q").stdout == "rr\n"
    assert json.loads(run("list", "--json").stdout)[0]["context_length"] == 512


def test_ps_of_all_models(cluster: FakeServer) -> None:
    first, second = tsv(run("ps").stdout)
    assert (first["replica"], first["slot"], first["device"], first["phase"]) == ("rr-0", f"{ADDRESS}@0", "NVIDIA H100 0", "ready")
    assert (first["memory"], first["queue"], first["pid"]) == (str(3 << 29), "7", "4000")
    assert (second["device"], second["phase"]) == ("", "backoff")
    assert run("ps", "--quiet").stdout == "rr-0\nrr-1\n"
    found = json.loads(run("ps", "--json").stdout)
    assert [(r["model_uid"], r["gpu_idx"]) for r in found] == [("rr", [0]), ("rr", [1])]


def test_ps_of_one_model(cluster: FakeServer) -> None:
    assert run("ps", "rr", "-q").stdout == "rr-0\nrr-1\n"
    assert ("GET", "/v1/models") not in [(r.method, r.url.path) for r in cluster.requests]


def test_ps_forgets_a_model_that_was_stopped_meanwhile(cluster: FakeServer) -> None:
    cluster.on("GET", "/v1/models", models(model("gone"), model()))
    cluster.on("GET", "/v1/models/gone/replicas", (404, error("model_not_found", "No model 'gone' is running.")))
    assert run("ps", "-q").stdout == "rr-0\nrr-1\n"


def test_ps_on_a_terminal_shows_where_and_fits(cluster: FakeServer, terminal: None) -> None:
    printed = run("ps").stdout
    assert max(map(len, printed.splitlines())) <= 80
    assert {"REPLICA", "SLOT", "DEVICE", "PHASE"} <= set(printed.splitlines()[0].split())
    assert f"{ADDRESS}@0" in printed
    assert "NVIDIA H100 0" in printed


def test_show(cluster: FakeServer, terminal: None) -> None:
    result = run("show", "rr")
    assert "updating, 1 of 2 replicas ready" in result.stdout
    assert "onnxruntime, float32, int8" in result.stdout
    assert f"{ADDRESS}@1" in result.stdout
    assert result.stderr == "Reported: it broke\n"
    found = json.loads(run("show", "rr", "--json").stdout)
    assert (found["id"], [r["pid"] for r in found["replicas"]]) == ("rr", [4000, 4001])
    assert run("show", "rr", "-q").stdout == "rr\n"


def test_show_when_piped_is_the_replicas(cluster: FakeServer) -> None:
    assert [row["replica"] for row in tsv(run("show", "rr").stdout)] == ["rr-0", "rr-1"]


def test_show_what_is_not_there(server: FakeServer) -> None:
    server.on("GET", "/v1/models/x", (404, error("model_not_found", "No model 'x' is running.")))
    assert run("show", "x").exit_code == 4


@pytest.mark.parametrize("arguments", [["stop", "a", "b"], ["terminate", "-u", "a", "--model-uid", "b"]])
def test_stop(server: FakeServer, arguments: list[str]) -> None:
    for uid in ("a", "b"):
        server.on("DELETE", f"/v1/models/{uid}", None)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert [r.url.path for r in server.requests] == ["/v1/models/a", "/v1/models/b"]
    assert result.stderr == "a is stopped.\nb is stopped.\n"


@pytest.mark.parametrize("flag", ["--force", "--no-drain"])
def test_stop_at_once(server: FakeServer, flag: str) -> None:
    server.on("DELETE", "/v1/models/a", None)
    assert run("stop", "a", flag).exit_code == 0
    assert [r.url.query for r in server.requests] == [b"drain=false"]


def test_stop_needs_a_name(server: FakeServer) -> None:
    assert run("stop").exit_code == 2
    assert server.requests == []


def test_registrations_of_one_type_and_of_all(server: FakeServer) -> None:
    entry = {"model_name": "ce", "is_builtin": True, "model_type": "rerank", "language": ["en"], "max_tokens": 512}
    entry["model_specs"] = [{"engines": ["onnxruntime"]}, {"engines": ["sentence_transformers", "onnxruntime"]}]
    server.on("GET", "/v1/model_registrations/rerank", [entry])
    assert tsv(run("registrations", "-t", "rerank").stdout)[0]["engines"] == "onnxruntime,sentence_transformers"
    server.on("GET", "/v1/model_registrations/embedding", [{"model_name": "em", "is_builtin": True}])
    server.on("GET", "/v1/model_registrations/LLM", [])
    assert run("registrations", "-q").stdout == "ce\nem\n"
    assert [e["model_name"] for e in json.loads(run("registrations", "--json").stdout)] == ["ce", "em"]


def test_slots(cluster: FakeServer) -> None:
    first, second = tsv(run("slots").stdout)
    assert (first["slot"], first["replicas"], first["worker"]) == (f"{ADDRESS}@0", "", "alive")
    assert (second["replicas"], second["free"]) == ("rr-1 (ready)", str(79 << 30))
    assert run("slots", "-q").stdout == f"{ADDRESS}@0\n{ADDRESS}@1\n"
    assert json.loads(run("slots", "--json").stdout)["workers"][0]["devices"][1]["uuid"] == "GPU-1"


def test_slots_on_a_terminal_show_what_waits(cluster: FakeServer, terminal: None) -> None:
    printed = run("slots").stdout
    assert max(map(len, printed.splitlines())) <= 80
    assert "79.0 GiB" in printed
    assert "Without a slot" in printed
    assert "rr-9" in printed


def test_slots_without_workers_say_how_to_add_one(server: FakeServer, terminal: None) -> None:
    server.on("GET", "/v1/cluster/slots", {"workers": []})
    result = run("slots")
    assert result.stdout == ""
    assert "xinfer worker" in result.stderr


def test_version_asks_the_server_only_when_told(server: FakeServer) -> None:
    assert run("version").stdout == f"{__version__}\n"
    assert server.requests == []
    server.on("GET", "/v1/cluster/version", {"version": "9.9"})
    assert run("version", "--server").stdout == f"xinfer {__version__}, server 9.9\n"
    assert json.loads(run("version", "--server", "--json").stdout) == {"version": __version__, "server": "9.9"}


def test_endpoint_and_key_from_flags_and_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on("GET", "/v1/models", models())
    run("list", "-e", "http://a:1", "-ak", "k1")
    monkeypatch.setenv("XINFER_ENDPOINT", "http://b:2")
    monkeypatch.setenv("XINFER_API_KEY", "k2")
    run("list")
    seen = [(r.url.host, r.url.port, r.headers["authorization"]) for r in server.requests]
    assert seen == [("a", 1, "Bearer k1"), ("b", 2, "Bearer k2")]


def test_json_and_quiet_exclude_each_other(server: FakeServer) -> None:
    assert run("ps", "--json", "-q").exit_code == 2
