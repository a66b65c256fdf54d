"""Rows about a host's link."""

from __future__ import annotations

import time

import psutil

from scripts.fault_suite.ground import BACK, Seen, facts, wait_gone
from scripts.fault_suite.grounds import Hosts
from scripts.fault_suite.row import Row
from tests.support.cluster import until


def link_cut(ground: Hosts) -> str:
    """The other host serves alone; healed, what is still wanted is adopted and what was replaced is stopped."""
    far = _on(ground, "b")
    pinned = ground.ready("pin")
    with ground.load():
        ground.network.cut("b")
        began = time.monotonic()
        try:
            _replaced(ground)
            replaced = time.monotonic() - began
            time.sleep(max(0.0, began + ground.pace.cut - time.monotonic()))
            assert psutil.pid_exists(far.pid or 0), "the replica on the cut host ended"
        finally:
            ground.network.heal("b")
        healed = time.monotonic()
        adopted = ground.wait_same(pinned, "pin")
        until(lambda: ground.states() == {"a": "alive", "b": "alive"}, f"both workers alive: {ground.states()}", BACK)
        wait_gone([psutil.Process(pid) for pid in [far.pid] if pid and psutil.pid_exists(pid)], "the duplicate", BACK)
        stopped = time.monotonic() - healed
        ground.wait_ready(2)
    cut = f"cut for {ground.pace.cut:g} s, {facts(replaced_after=replaced)}"
    return f"{cut}; healed, {facts(adopted_after=adopted, duplicate_stopped_after=stopped)}"


def host_gone(ground: Hosts) -> str:
    """Unpinned replicas are placed on the other host; pinned ones wait, and say for what."""
    with ground.load():
        ground.network.cut("b")  # first: a host without power says no goodbye
        began = time.monotonic()
        tree = ground.far.tree()
        for process in tree:
            process.kill()
        ground.far.process.wait(BACK)
        _replaced(ground)
        replaced = time.monotonic() - began
        until(lambda: _waits(ground), f"the pinned one waits and says so: {ground.replicas('pin')}", BACK)
        (pinned,) = ground.replicas("pin")
    return f"{facts(unpinned_replaced_after=replaced)}; pinned: {pinned.phase}, “{pinned.error}”"


def _on(ground: Hosts, host: str) -> Seen:
    (found,) = (each for each in ground.replicas() if ground.host_of(each.worker) == host)
    return found


def _replaced(ground: Hosts) -> None:
    """Until both replicas are ready on host a."""

    def there() -> bool:
        seen = ground.replicas()
        return len(seen) == 2 and all(each.phase == "ready" and ground.host_of(each.worker) == "a" for each in seen)

    until(there, f"two replicas on the other host: {ground.replicas()}", BACK)


def _waits(ground: Hosts) -> bool:
    seen = ground.replicas("pin")
    return len(seen) == 1 and seen[0].phase == "queued" and "Waits for" in seen[0].error


ROWS = (
    Row("link-cut", "a host's link cut, then healed", "hosts", link_cut),
    Row("host-gone", "a host gone for good", "hosts", host_gone),
)
