"""What scripts/faults is asked for, and how it counts."""

from __future__ import annotations

import argparse

import pytest

from scripts.fault_suite.__main__ import ROWS, arguments, read_rows, read_seconds, read_soak
from scripts.fault_suite.memory import Growth, growth
from scripts.fault_suite.row import Finding
from scripts.fault_suite.soak import Times
from scripts.fault_suite.table import requests, said, summary

MIB = 2**20


def test_all_rows_unless_some_are_asked_for() -> None:
    assert arguments([]).rows == list(ROWS)
    assert arguments(["--rows", "link-cut, api-killed"]).rows == ["link-cut", "api-killed"]


@pytest.mark.parametrize("text", ["", "nothing", "api-killed,nothing"])
def test_a_row_that_is_not_there_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"there is no row .*replica-killed, .*strangers"):
        read_rows(text)


def test_a_link_is_cut_for_longer_than_it_takes_to_give_a_worker_up() -> None:
    pace = read_seconds("7")
    assert (pace.away, pace.cut) == (7.0, 14.0)
    for text in ("6.9", "x", "3600", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match="at least 7"):
            read_seconds(text)


def test_the_times_of_a_soak() -> None:
    assert read_soak("30,30") == Times(30, 30)
    assert read_soak("1,0,0.5") == Times(1, 0, 0.5)
    for text in ("30", "30,-1", "a,b", "1,2,3,4", "nan,1", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="such as 30,30"):
            read_soak(text)


def test_growth_is_that_of_minutes_25_to_30_over_10_to_15() -> None:
    # 10 MiB until minute 10, then 100, from minute 15 on 50, from minute 25 on 104.
    by_minute = [10] * 10 + [100] * 5 + [50] * 10 + [104] * 5
    samples = {"api 7": [(60.0 * minute, mib * MIB) for minute, mib in enumerate(by_minute)]}
    (found,) = growth(samples, 1800)
    assert found == Growth("api 7", 100 * MIB, 104 * MIB)
    assert found.held
    assert str(found) == "api 7: 100.0 MiB, then 104.0: 1.040"
    assert not Growth("api 7", 100 * MIB, 106 * MIB).held


def test_a_process_that_ended_or_began_meanwhile_does_not_hold() -> None:
    middle = [(700.0, MIB)]
    last = [(1700.0, MIB)]
    found = growth({"a 1": middle, "b 2": last, "c 3": [(10.0, MIB)]}, 1800)
    assert [(each.process, each.held) for each in found] == [("a 1", False), ("b 2", False)]
    assert [str(each) for each in found] == ["a 1: NOT THERE at the end", "b 2: NOT THERE in the middle"]


def test_what_holds_and_how_it_is_counted() -> None:
    held = Finding("a", "A", "back", failed=0, answered=10, longest=1.25)
    failed = Finding("b", "B", "back", failed=1, answered=9, broken="1 × x")
    skipped = Finding("c", "C", skipped="needs root")
    assert [each.held for each in (held, failed, skipped, Finding("d", "D", broken="x"))] == [True, False, False, False]
    assert summary([held, failed, skipped]) == "3 rows: 1 hold, 1 do not, 1 not possible here."
    assert [requests(each) for each in (held, failed, skipped)] == ["0 of 10", "1 of 10", "–"]
    assert said(held) == "back; slowest request 1.2 s"
    assert said(failed) == "DOES NOT HOLD: 1 × x"
    assert said(skipped) == "not possible here: needs root"
