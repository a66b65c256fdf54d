"""`rerank` and `embed`."""

from __future__ import annotations

import array
import base64
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import FakeServer, run
from xinfer.cli import columns, output


@pytest.fixture
def reranker(server: FakeServer) -> FakeServer:
    results = [{"index": 1, "relevance_score": 0.98765432}, {"index": 0, "relevance_score": 1e-5}]
    server.on("POST", "/v1/rerank", {"id": "r1", "model": "rr", "results": results})
    return server


def test_rerank_best_first(reranker: FakeServer) -> None:
    result = run("rerank", "-u", "rr", "-q", "cats", "a dog", "a cat", "--top-n", "2")
    assert result.stdout == "score\tindex\tdocument\n0.987654\t1\ta cat\n1e-05\t0\ta dog\n"
    assert reranker.sent("POST", "/v1/rerank") == {"model": "rr", "query": "cats", "documents": ["a dog", "a cat"], "top_n": 2}
    assert run("rerank", "-u", "rr", "-q", "cats", "a", "b", "--quiet").stdout == "1\n0\n"
    assert json.loads(run("rerank", "-u", "rr", "-q", "cats", "a", "b", "--json").stdout)["results"][0]["index"] == 1


def test_rerank_on_a_terminal_crops_long_documents(reranker: FakeServer, terminal: None) -> None:
    printed = run("rerank", "-u", "rr", "-q", "cats", "short", "word " * 100).stdout
    lines = printed.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert "0.9877" in printed
    assert "…" in printed


def test_documents_from_a_file_and_from_stdin(reranker: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "docs.txt"
    file.write_text("one\n\n two \nthree")
    run("rerank", "-u", "rr", "-q", "x", "--file", str(file))
    assert reranker.sent("POST", "/v1/rerank")["documents"] == ["one", " two ", "three"]
    for flags in (["-"], ["--file", "-"]):
        run("rerank", "-u", "rr", "-q", "x", *flags, stdin="four\nfive\n")
        assert reranker.sent("POST", "/v1/rerank")["documents"] == ["four", "five"]


@pytest.mark.parametrize("flags", [[], ["a", "--file", "-"], ["--file", "/no/such/file"]])
def test_no_documents_or_two_sources(server: FakeServer, flags: list[str]) -> None:
    assert run("rerank", "-u", "rr", "-q", "x", *flags, stdin="b\n").exit_code == 2
    assert server.requests == []


def test_embed(server: FakeServer) -> None:
    packed = base64.b64encode(array.array("f", [0.5, -0.25, 0, 0, 0, 1]).tobytes()).decode()
    server.on("POST", "/v1/embeddings", {"model": "em", "data": [{"index": 0, "embedding": packed}], "usage": {"total_tokens": 3}})
    result = run("embed", "-u", "em", "hello", "--dimensions", "6")
    assert result.stdout == "index\tdimensions\tvector\n0\t6\t0.5,-0.25,0,0,0,1\n"
    assert server.sent("POST", "/v1/embeddings")["input"] == ["hello"]
    assert server.sent("POST", "/v1/embeddings")["dimensions"] == 6
    found = json.loads(run("embed", "-u", "em", "hello", "--json").stdout)
    assert found == {"model": "em", "data": [{"index": 0, "embedding": [0.5, -0.25, 0, 0, 0, 1]}], "usage": {"total_tokens": 3}}


def test_embed_on_a_terminal_shows_the_beginning(server: FakeServer, terminal: None) -> None:
    packed = base64.b64encode(array.array("f", [0.5] * 384).tobytes()).decode()
    server.on("POST", "/v1/embeddings", {"model": "em", "data": [{"index": 0, "embedding": packed}], "usage": {"total_tokens": 3}})
    lines = run("embed", "-u", "em", "hello").stdout.splitlines()
    assert len(lines) == 3
    assert "384" in lines[2]
    assert lines[2].rstrip().endswith("+0.5000, …")


@pytest.mark.parametrize(("score", "shown"), [(0.98765, "0.9877"), (0.0000131192, "1.3e-05"), (0.0, "0.0000"), (-4.5, "-4.5000")])
def test_scores_near_zero_still_show_their_order(score: float, shown: str) -> None:
    column = next(column for column in columns.SCORES if column.header == "score")
    assert output.text(column, {"relevance_score": score}) == shown
