"""Row of changes that people ask for in mid-load."""

from __future__ import annotations

import time

from scripts.fault_suite.ground import UID
from scripts.fault_suite.grounds import Pair
from scripts.fault_suite.row import Row


def changed(ground: Pair) -> str:
    """Move, scale up, scale down, drain: no request fails, and replicas are where they were asked for."""
    first, second = ground.replicas()
    said: list[str] = []

    def xinfer(*argv: str) -> None:
        began = time.monotonic()
        ground.cluster.run(*argv)
        said.append(f"{argv[0]} {time.monotonic() - began:.1f} s")

    with ground.load():
        xinfer("move", UID, first.id, "--pin", f"{first.worker}@2")
        moved = ground.slots()
        assert sorted(moved.values()) == sorted([f"{first.worker}@2", second.slot]), f"moved to {moved}"
        xinfer("scale", UID, "4")
        assert len(set(ground.slots().values())) == 4, f"scaled up to {ground.replicas()}"
        xinfer("scale", UID, "2")
        ground.wait_ready(2)
        try:
            xinfer("drain", second.worker)
            on = {each.worker for each in ground.replicas()}
            assert on == {first.worker}, f"drained, and yet on {on}"
        finally:
            ground.cluster.run("drain", second.worker, "--undo", ok=False)
    return ", ".join(said)


ROWS = (Row("changed", "move, scale up, scale down, drain", "pair", changed),)
