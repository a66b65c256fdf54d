"""Launches are kept, the newest of them, across a restart."""

from __future__ import annotations

from pathlib import Path

from xinfer.store.history import KEPT, Launched
from xinfer.store.store import Store


def test_the_newest_launches_are_kept_newest_first(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "state.sqlite3")
    for number in range(KEPT + 3):
        store.history.add(float(number), f"m{number}", "{}")
    store.close()
    again = Store.open(tmp_path / "state.sqlite3")
    found = again.history.newest(KEPT + 3)
    assert len(found) == KEPT
    assert found[0] == Launched(KEPT + 3, float(KEPT + 2), f"m{KEPT + 2}", "{}")
    assert found[-1].uid == "m3"
    assert [it.uid for it in again.history.newest(2)] == [f"m{KEPT + 2}", f"m{KEPT + 1}"]
    again.close()
