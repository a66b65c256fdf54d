"""What API processes report, summed and remembered."""

from __future__ import annotations

from xinfer.cluster.ids import Address, ModelUid
from xinfer.cluster.load import ModelLoad
from xinfer.control.autoscale import Sample
from xinfer.control.loads import Loads

M = ModelUid("m")
ONE, TWO = Address("10.0.0.1:1"), Address("10.0.0.2:1")


def loads() -> Loads:
    return Loads(every=2.0, kept=20.0)


def test_two_processes_are_summed_and_a_silent_one_no_longer_counts() -> None:
    known = loads()
    known.report(ONE, {M: ModelLoad(100, documents=3)}, 0.0)
    known.report(TWO, {M: ModelLoad(50, documents=2)}, 4.0)
    assert known.total(M, 5.9) == (150, 5)
    assert known.total(M, 6.0) == (50, 2)
    assert known.total(M, 10.0) is None


def test_history_is_in_windows_and_ends_where_nobody_reports() -> None:
    known = loads()
    for second in range(0, 40, 2):
        known.report(ONE, {M: ModelLoad(100)}, second)
        known.sample(M, 50, second)
    assert known.history(M)[0].at == 18.0
    assert known.history(M)[-1] == Sample(38.0, 2.0)
    known.sample(M, 50, 60.0)
    assert known.history(M) == ()


def test_when_a_model_was_last_busy() -> None:
    known = loads()
    assert known.last_busy(M, 5.0) == 5.0
    known.report(ONE, {M: ModelLoad(0)}, 8.0)
    assert known.last_busy(M, 9.0) == 5.0
    known.report(ONE, {M: ModelLoad(0, busy=True)}, 10.0)
    known.report(ONE, {M: ModelLoad(0)}, 12.0)
    assert known.last_busy(M, 13.0) == 10.0
    known.forget([])
    assert known.last_busy(M, 20.0) == 20.0


def test_queues_are_empty_when_every_process_has_said_so() -> None:
    known, askers = loads(), {ONE: 0.0, TWO: 0.0}
    closing = ModelLoad(0, closing=True)
    known.report(ONE, {M: ModelLoad(0)}, 9.0)
    assert not known.empty(M, askers, 10.0, 10.0)
    known.report(ONE, {M: closing}, 10.5)
    assert not known.empty(M, askers, 10.0, 11.0), "the other has not said anything"
    known.report(TWO, {M: ModelLoad(7, closing=True)}, 11.5)
    assert not known.empty(M, askers, 10.0, 12.0), "the other still holds something"
    known.report(TWO, {M: closing}, 12.5)
    assert known.empty(M, askers, 10.0, 13.0)


def test_a_report_from_before_the_stop_says_nothing_about_it() -> None:
    known = loads()
    known.report(ONE, {}, 9.0)
    assert not known.empty(M, {ONE: 0.0}, 10.0, 10.5)
    known.report(ONE, {M: ModelLoad(0, closing=True)}, 10.6)
    assert known.empty(M, {ONE: 0.0}, 10.0, 10.7)


def test_a_process_that_never_reports_is_waited_for_a_little() -> None:
    known = loads()
    assert not known.empty(M, {ONE: 0.0}, 10.0, 15.9)
    assert known.empty(M, {ONE: 0.0}, 10.0, 16.0)
    assert known.empty(M, {}, 10.0, 10.0), "nobody asked for routes"
