"""Listings: which form, which columns, what a cell says."""

from __future__ import annotations

from typing import Any

import click
import pytest
from rich.text import Text

from xinfer.cli import columns, output
from xinfer.cli.output import Column, Form


def test_the_form_follows_flags_then_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "stdout_is_terminal", lambda: True)
    assert output.form_for(False, False) is Form.TABLE
    assert output.form_for(True, False) is Form.JSON
    assert output.form_for(False, True) is Form.IDS
    monkeypatch.setattr(output, "stdout_is_terminal", lambda: False)
    assert output.form_for(False, False) is Form.TSV
    with pytest.raises(click.UsageError):
        output.form_for(True, True)


COLUMNS = (
    Column("name", lambda r: r["name"]),
    Column("size", lambda r: r["size"], output.gibibytes, right=True, drop=1),
    Column("note", lambda r: r["note"], drop=2),
    Column("text", lambda r: r["text"], text="crop"),
)


def cells(row: dict[str, Any]) -> list[list[Text]]:
    return [[Text(output.text(column, row)) for column in COLUMNS]]


ROW = {"name": "a" * 10, "size": 1 << 30, "note": "b" * 20, "text": "c" * 200}


@pytest.mark.parametrize(("width", "kept"), [(200, [0, 1, 2, 3]), (70, [0, 1, 2, 3]), (69, [0, 1, 3]), (46, [0, 3]), (10, [0, 3])])
def test_columns_leave_by_rank_and_prose_asks_for_little(width: int, kept: list[int]) -> None:
    # name 10, size 7, note 20, text 24 of 200, and three gaps of 3: 70 in all.
    assert output.fitting(COLUMNS, cells(ROW), width) == kept


@pytest.mark.parametrize("width", [46, 69, 80, 120])
def test_a_table_keeps_whole_values_and_its_width(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    output.write_table(COLUMNS, [ROW, {**ROW, "text": "short"}])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert printed.count("a" * 10) == 2
    assert "c…" in printed


def test_a_narrow_terminal_wraps_rather_than_hides_what_must_be_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    fold = Column("why", lambda r: r["why"], text="fold")
    output.write_table((COLUMNS[0], fold), [{"name": "a" * 10, "why": "one two three four five six seven eight nine ten"}])
    printed = capsys.readouterr().out
    assert {"one", "ten"} <= set(printed.split())


def test_replicas_of_a_slot_stay_on_their_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What says less, such as the host, leaves first."""
    monkeypatch.setenv("COLUMNS", "120")
    held = {"replica_model_uid": "ms-marco-MiniLM-L-12-v2-0", "phase": "ready"}
    row = {"slot": "127.0.0.1:34739@0", "name": "AMD EPYC, 1 core", "state": "alive", "host": "vm", "replicas": [held]}
    output.write_table(columns.DEVICES, [row | {"total_bytes": 1 << 33, "reserved_bytes": 1 << 30, "free_bytes": 1 << 33}])
    assert "ms-marco-MiniLM-L-12-v2-0 (ready)" in capsys.readouterr().out


def test_an_empty_listing_says_so_on_stderr_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.write(Form.TABLE, COLUMNS, [], identity=str, empty="Nothing.")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Nothing.\n")


def test_tsv_is_one_line_per_row_whatever_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "a\tb\nc", "size": 1 << 30, "note": None, "text": [0.25, True, "x"]}
    output.write(Form.TSV, COLUMNS, [row], identity=str)
    assert capsys.readouterr().out == f"name\tsize\tnote\ttext\na b c\t{1 << 30}\t\t0.25,true,x\n"


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (512 << 20, "512 MiB"), (3 << 29, "1.5 GiB"), (80 << 30, "80.0 GiB")],
)
def test_gibibytes(count: int, words: str) -> None:
    assert output.gibibytes(count) == words


def test_no_color_takes_the_colours_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    phase = (Column("phase", lambda r: r["phase"], styled=True),)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.write_table(phase, [{"phase": "ready"}])
    assert "\x1b[32mready" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    output.write_table(phase, [{"phase": "ready"}])
    assert "\x1b[32m" not in capsys.readouterr().out
