"""The rules of the house that a reader would notice first, and that the drawing of it is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for file in (ROOT / "xinfer").rglob("*.py") if "node_modules" not in file.parts)
NO_ROOMS = {"utils", "util", "common", "core", "manager", "helper", "helpers", "misc"}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60

# Who may catch whatever comes, and how often at most: the replica (its actor, its two threads, and where they call an engine),
# the supervisor where events and effects pass, the API handler; the links of a worker and of an API process to the
# supervisor, which must outlive anything; one library that raises bare Exception for a broken file; and the probe of a new
# environment, which imports foreign packages.
BORDERS = {
    "actors/replica.py": 2,
    "serving/server.py": 1,
    "serving/compute.py": 2,
    "serving/generate.py": 2,
    "serving/forward.py": 1,
    "serving/isolate.py": 1,
    "actors/effects.py": 1,
    "actors/supervisor.py": 1,
    "actors/worker.py": 1,
    "api/links.py": 1,
    "api/reporting.py": 1,
    "api/errors.py": 1,
    "engines/onnx_models.py": 1,
    "processes/probe.py": 1,
}


def relative(file: Path) -> str:
    return file.relative_to(ROOT / "xinfer").as_posix()


def catches_all(node: ast.AST) -> bool:
    """``except Exception``, a bare ``except`` and ``suppress(Exception)``; ``except BaseException`` unless it raises again."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "suppress":
        return any(ast.unparse(kind) in {"Exception", "BaseException"} for kind in node.args)
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    names = {"BaseException" if kind is None else ast.unparse(kind) for kind in kinds}
    again = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    return "Exception" in names or ("BaseException" in names and not again)


def test_everything_is_caught_at_the_borders_only() -> None:
    found = {relative(file): sum(map(catches_all, ast.walk(ast.parse(file.read_text())))) for file in FILES}
    assert {name: count for name, count in found.items() if count > BORDERS.get(name, 0)} == {}


@pytest.mark.parametrize(
    ("text", "all_of_it"),
    [
        ("try: pass\nexcept Exception: raise", True),
        ("try: pass\nexcept (OSError, Exception): pass", True),
        ("try: pass\nexcept: pass", True),
        ("try: pass\nexcept BaseException:\n    raise", False),
        ("with contextlib.suppress(Exception): pass", True),
        ("try: pass\nexcept OSError: pass", False),
    ],
)
def test_what_counts_as_catching_everything(text: str, all_of_it: bool) -> None:
    assert any(map(catches_all, ast.walk(ast.parse(text)))) is all_of_it


def test_no_room_or_file_has_a_name_that_means_nothing() -> None:
    parts = {part for file in FILES for name in Path(relative(file)).with_suffix("").parts for part in name.split("_")}
    assert parts & NO_ROOMS == set()


def test_files_and_functions_can_be_read_in_one_go() -> None:
    long = {relative(file): lines for file in FILES if (lines := len(file.read_text().splitlines())) > MOST_LINES}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long[f"{relative(file)}: {node.name}"] = lines
    assert long == {}


def test_every_file_says_what_it_is_for() -> None:
    assert [relative(file) for file in FILES if not ast.get_docstring(ast.parse(file.read_text()))] == []


def test_the_drawing_names_every_room_and_no_other() -> None:
    drawing = (ROOT / "doc" / "architecture.md").read_text()
    drawn = set(re.findall(r"^\| `(\w+)` \|", drawing, re.MULTILINE))
    packages = {folder.parent.name for folder in (ROOT / "xinfer").glob("*/__init__.py")}
    assert drawn == packages | {"errors", "settings"}


def test_every_file_that_the_drawing_names_is_there() -> None:
    drawing = (ROOT / "doc" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:xinfer|tests|doc|scripts)/[\w./-]+)`", drawing))
    named |= {f"xinfer/{name}" for name in re.findall(r"`((?!xinfer|tests|doc|scripts)[a-z_]+/[\w/]+\.(?:py|yaml))`", drawing)}
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_function_that_the_drawing_names_is_there() -> None:
    """``file.py: function``, with a class before the dot where there is one."""
    drawing = (ROOT / "doc" / "architecture.md").read_text()
    named = re.findall(r"`([a-z_/]+\.py): ([\w.]+)`", drawing)
    assert len(named) > 20
    missing = []
    for file, name in named:
        path = ROOT / "xinfer" / file
        nodes: list[ast.stmt] = ast.parse(path.read_text()).body if path.exists() else []
        for part in name.split("."):
            found = next((node for node in nodes if getattr(node, "name", None) == part), None)
            nodes = list(getattr(found, "body", []))
            if found is None:
                missing.append(f"{file}: {name}")
                break
    assert missing == []
