"""What replicas write: kept within bounds, and read by position with nothing lost and nothing twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xinfer.processes.logfile import READ_BYTES, LogFile, Slice, forget


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "m-0.stderr")


def append(log: LogFile, data: bytes) -> None:
    fd, _ = log.open()
    os.write(fd, data)
    os.close(fd)


def test_nothing_was_written(log: LogFile) -> None:
    assert log.tail(10) == log.after(0) == log.after(7) == Slice(0, "")
    assert not log.cut(0)


def test_the_tail_is_the_last_lines_and_the_next_reading_goes_on(log: LogFile) -> None:
    append(log, b"one\ntwo\nthr")
    assert log.tail(2) == Slice(11, "two\nthr")
    append(log, b"ee\n")
    assert log.after(11) == Slice(14, "ee\n")
    assert log.after(14) == Slice(14, "")


def test_a_character_that_is_half_written_is_read_when_it_is_whole(log: LogFile) -> None:
    append(log, "ü".encode()[:1])
    seen = log.after(0)
    assert seen == Slice(0, "")
    append(log, "ü".encode()[1:])
    assert log.after(seen.position) == Slice(2, "ü")
    append(log, b"\xff!")
    assert log.after(2) == Slice(4, "\ufffd!")


def test_a_cut_keeps_positions_and_bounds_what_is_kept(log: LogFile, tmp_path: Path) -> None:
    fd, _ = log.open()  # as a process holds it
    os.write(fd, b"a" * 100)
    assert not log.cut(100)
    assert log.cut(99)
    os.write(fd, b"b" * 50)
    assert log.after(90) == Slice(150, "a" * 10 + "b" * 50)
    assert log.after(120) == Slice(150, "b" * 30)
    assert log.tail(1).text == "a" * 100 + "b" * 50
    os.write(fd, b"c" * 60)
    assert log.cut(99)
    os.close(fd)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m-0.stderr", "m-0.stderr.210"]
    assert log.after(0) == Slice(210, "b" * 50 + "c" * 60)  # from the oldest that is kept
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_what_a_cut_that_was_cut_short_left_does_no_harm(log: LogFile, tmp_path: Path) -> None:
    append(log, b"a" * 10)
    (tmp_path / "m-0.stderr.new").write_text("half")
    assert log.cut(5)
    append(log, b"b")
    assert log.after(0) == Slice(11, "a" * 10 + "b")
    assert not (tmp_path / "m-0.stderr.new").exists()


def test_a_full_disk_costs_the_lines_and_not_the_bound(log: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    append(log, b"a" * 10)
    monkeypatch.setattr("xinfer.processes.logfile._copy", full)
    assert log.cut(5)
    assert log.path.stat().st_size == 0


def test_a_file_that_was_removed_is_read_from_its_new_beginning(log: LogFile) -> None:
    append(log, b"a" * 10)
    log.remove()
    append(log, b"new")
    assert log.after(10) == Slice(3, "new")


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans(), st.booleans()), max_size=30))
def test_a_follower_that_keeps_up_sees_every_byte_once(steps: list[tuple[bytes, bool, bool]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log = LogFile(Path(folder) / "m-0.stderr")
        log.path.touch()
        position, seen, written = 0, "", b""
        for data, cut, read in steps:
            data = data.translate(None, bytes(range(128, 256)))
            append(log, data)
            written += data
            if read:
                piece = log.after(position)
                position, seen = piece.position, seen + piece.text
                assert seen == written.decode()
            if cut and position == len(written):
                log.cut(0)
        assert seen + log.after(position).text == written.decode()


def test_no_more_than_a_reading_at_once(log: LogFile) -> None:
    append(log, b"x" * (READ_BYTES + 10))
    assert len(log.tail(5).text) == READ_BYTES
    first = log.after(0)
    assert (first.position, log.after(first.position).text) == (READ_BYTES, "x" * 10)


def test_a_process_that_writes_all_the_time_stays_within_the_bound(log: LogFile, tmp_path: Path) -> None:
    fd, _ = log.open()
    code = "import sys\nfor n in range(200_000): print(n, file=sys.stderr)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=fd) as process:
        os.close(fd)
        position, lines, cuts = 0, "", 0
        while process.poll() is None or log.after(position).text:
            piece = log.after(position)
            position, lines = piece.position, lines + piece.text
            cuts += log.cut(100_000)
    assert cuts >= 2
    numbers = [int(line) for line in lines.splitlines() if line.isdecimal()]
    assert len(numbers) > 1000
    assert numbers[-1] == 199_999
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000


def test_old_files_of_replicas_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    for number in range(5):
        log = LogFile(tmp_path / f"m-{number}.stderr")
        append(log, b"aa")
        log.cut(1)
        os.utime(log.path, (number, number))
    forget(tmp_path, {tmp_path / "m-0.stderr"}, most=2)
    assert sorted(path.name for path in tmp_path.glob("*.stderr")) == ["m-0.stderr", "m-3.stderr", "m-4.stderr"]
    assert len(list(tmp_path.iterdir())) == 6
