"""Data on stdout: a table on a terminal, TSV when piped, JSON or bare ids when asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Row = Mapping[str, Any]
EMPTY = "–"
PROSE = 24
"""Cells that a folded or cropped column is content with, unless it says otherwise."""
GAP = 3
"""Cells between two columns."""
STYLES = {
    "ready": "green",
    "alive": "green",
    "loading": "yellow",
    "suspect": "yellow",
    "backoff": "red",
    "failed": "bold red",
    "lost": "bold red",
    "stopped": "dim",
    "asleep": "dim",
    "info": "dim",
    "warning": "yellow",
    "error": "red",
}
"""Colour of a phase or state; what is on its way is yellow."""


class Form(StrEnum):
    """How data is written."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    IDS = "ids"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a listing.

    Attributes:
        header: in lower case, also the TSV's column name.
        value: raw value of a row, as TSV shows it.
        show: the value as people read it; None = as it is.
        right: aligned right (numbers).
        drop: columns with the highest number leave first on a narrow terminal; 0 stays always.
        styled: colour by `STYLES`.
        enough: cells that a folded or cropped column is content with.
        text: "line" keeps the value on one line, "fold" breaks prose over lines, "crop" ends it with an ellipsis.
    """

    header: str
    value: Callable[[Row], Any]
    show: Callable[[Any], str] | None = None
    right: bool = False
    drop: int = 0
    styled: bool = False
    text: Literal["line", "fold", "crop"] = "line"
    enough: int = PROSE


def form_for(as_json: bool, quiet: bool) -> Form:
    """The form that flags and the terminal ask for."""
    if as_json and quiet:
        raise click.UsageError("--json and --quiet exclude each other.")
    if as_json:
        return Form.JSON
    if quiet:
        return Form.IDS
    return Form.TABLE if stdout_is_terminal() else Form.TSV


def stdout_is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def stderr_is_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def stdout_console() -> Console:
    """Rich on stdout; it honours NO_COLOR and COLUMNS."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def write(
    form: Form, columns: Sequence[Column], rows: Sequence[Row], *, identity: Callable[[Row], Any], data: Any = None, empty: str = ""
) -> None:
    """Write one listing.

    Args:
        identity: what ``-q`` prints for a row.
        data: what ``--json`` prints; the rows if None.
        empty: said on stderr where a terminal would show an empty table.
    """
    if form is Form.JSON:
        write_json(list(rows) if data is None else data)
    elif form is Form.IDS:
        for row in rows:
            click.echo(str(identity(row)))
    elif form is Form.TSV:
        click.echo("\t".join(column.header for column in columns))
        for row in rows:
            click.echo("\t".join(flat(column.value(row)) for column in columns))
    elif rows:
        write_table(columns, rows)
    elif empty:
        note(empty)


def write_json(data: Any) -> None:
    """Indented JSON, not escaped beyond need."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def write_table(columns: Sequence[Column], rows: Sequence[Row], *, title: str = "") -> None:
    """A table that fits the terminal: what matters least leaves first, then prose folds."""
    console = stdout_console()
    console.print(table_of(columns, rows, console, title))


def table_of(columns: Sequence[Column], rows: Sequence[Row], console: Console, title: str = "") -> Table:
    """The table itself, as wide as the console lets it be."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(text(column, row), style=style(column, row)) for column in columns] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False, show_edge=False)
    kept = fitting(columns, cells, console.width)
    widths = [natural(column, [row[index] for row in cells]) for index, column in enumerate(columns)]
    # Rich would shrink every column alike to make room for one that is to be cropped.
    rest = console.width - sum(widths[index] + GAP for index in kept if columns[index].text == "line")
    for index in kept:
        column = columns[index]
        table.add_column(
            column.header.replace("_", " ").upper(),
            justify="right" if column.right else "left",
            no_wrap=column.text != "fold",
            overflow="ellipsis" if column.text == "crop" else "fold",
            max_width=max(PROSE, rest) if column.text == "crop" else None,
        )
    for row_cells in cells:
        table.add_row(*(row_cells[index] for index in kept))
    return table


def write_facts(facts: Mapping[str, str]) -> None:
    """Names and values, one per line."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(Text(name.upper(), style="bold"), Text(value))
    console = stdout_console()
    console.print(grid)
    console.print()


def fitting(columns: Sequence[Column], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """Indices of the columns that fit into ``width``; columns with ``drop`` 0 stay even if they do not."""
    widths = []
    for index, column in enumerate(columns):
        needed = natural(column, [row[index] for row in cells])
        widths.append((needed if column.text == "line" else min(needed, column.enough)) + GAP)
    kept = list(range(len(columns)))
    while sum(widths[i] for i in kept) - GAP > width:
        last = max(kept, key=lambda i: (columns[i].drop, i))
        if columns[last].drop == 0:
            break
        kept.remove(last)
    return kept


def natural(column: Column, cells: Sequence[Text]) -> int:
    """Width of a column whose values stay on their lines."""
    from rich.cells import cell_len

    return max([len(column.header), *(cell_len(line) for cell in cells for line in cell.plain.split("\n"))])


def style(column: Column, row: Row) -> str:
    """Colour of a phase or state."""
    value = column.value(row)
    return STYLES.get(str(value), "yellow") if column.styled and value else ""


def text(column: Column, row: Row) -> str:
    """A cell as people read it."""
    value = column.value(row)
    if value is None or value == "":
        return EMPTY
    return column.show(value) if column.show else flat(value)


def flat(value: Any) -> str:
    """A value on one line and without tabs."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ",".join(flat(item) for item in value)
    return " ".join(str(value).split())


def note(message: str) -> None:
    """A message for people, on stderr."""
    click.echo(message, err=True)


def gibibytes(count: Any) -> str:
    """``23.9 GiB``, ``512 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
