"""What a bar or a line says of a replica."""

from __future__ import annotations

from typing import Any

import pytest

from xinfer.cli.progress import Bars, downloads, label, stage

BASE: dict[str, Any] = {"replica_model_uid": "rr-0", "slot": "a:1@0", "stage": "fetching", "progress": 0.1}


def test_label_without_a_slot_is_the_name() -> None:
    assert label(BASE) == "rr-0 a:1@0"
    assert label({**BASE, "slot": ""}) == "rr-0"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], ""),
        ([(0, 10 << 20)], ""),
        ([(5 << 20, 10 << 20), (1 << 20, 10 << 20)], " 6 MiB of 20 MiB"),
        ([(5 << 20, 0)], " 5 MiB"),
        ([(10 << 20, 10 << 20)], ""),
    ],
)
def test_downloads_in_bytes_while_they_run(files: list[tuple[int, int]], words: str) -> None:
    replica = {**BASE, "download_files": [{"done_bytes": done, "total_bytes": total} for done, total in files]}
    assert downloads(replica) == words
    assert downloads({**replica, "stage": "loading"}) == ""


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [("warming_up", "", "warming up"), ("backoff", "no\nmemory", "backoff: no memory"), ("loading", "an old reason", "loading")],
)
def test_a_reason_belongs_to_what_went_wrong(name: str, reason: str, words: str) -> None:
    assert stage({**BASE, "stage": name, "error_message": reason}) == words


@pytest.mark.parametrize("width", [80, 120])
def test_bars_keep_bar_share_and_time_beside_long_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    name, files = "ms-marco-MiniLM-L-12-v2-0", [{"done_bytes": 12 << 20, "total_bytes": 73 << 20}]
    replica = {**BASE, "replica_model_uid": name, "slot": "10.100.200.30:34739@0", "progress": 0.3, "download_files": files}
    with Bars() as bars:
        bars.show([replica])
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    for part in (name, "━", "30 %", "fetching 12 MiB of 73 MiB", "0:00:00"):
        assert part in last
    assert ("@0" in last) == (width == 120)
