"""What an engine gives becomes what a caller is told, whole or going on elsewhere."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from xinfer.errors import EngineError
from xinfer.generation.answer import Answer
from xinfer.generation.job import Emission, Finish, Generated, GenerationJob, Resume, Sampling

JOB = GenerationJob("k", prompt="p", max_tokens=50, stops=("END", "STOP!"))


def told(answer: Answer, pieces: list[str], finish: Finish | None = None) -> list[Emission]:
    emissions = []
    for n, piece in enumerate(pieces):
        last = n == len(pieces) - 1
        emissions.append(answer.take(Generated("k", (n,), piece, finish=finish if last else None)))
        if answer.ended:
            break
    return emissions


def test_the_first_emission_brings_the_prompts_length() -> None:
    answer = Answer(JOB, prompt_tokens=7, max_tokens=50)
    first = answer.take(Generated("k", (1,), "a", cached_tokens=5))
    second = answer.take(Generated("k", (2,), "b"))
    assert (first.number, first.prompt_tokens, first.cached_tokens) == (1, 7, 5)
    assert (second.number, second.prompt_tokens, second.cached_tokens) == (2, 0, 0)
    assert answer.holds == 57


def test_a_stop_string_ends_it_and_is_not_said() -> None:
    answer = Answer(JOB, 1, 50)
    emissions = told(answer, ["so ", "it E", "N", "D and more"])
    assert "".join(e.text for e in emissions) == "so it "
    assert [e.held for e in emissions] == ["", "E", "EN", ""]
    assert emissions[-1].finish is Finish.STOP
    assert emissions[-1].stopped_by == "END"
    assert emissions[-1].last


def test_what_is_held_back_is_said_when_the_answer_ends_otherwise() -> None:
    emissions = told(Answer(JOB, 1, 50), ["a", " ST"], finish=Finish.LENGTH)
    assert "".join(e.text for e in emissions) == "a ST"
    assert emissions[-1].finish is Finish.LENGTH


def test_an_error_ends_it() -> None:
    answer = Answer(JOB, 1, 50)
    emission = answer.take(Generated("k", error=EngineError("no")))
    assert emission.last
    assert emission.error is not None
    assert answer.ended


@given(st.lists(st.sampled_from(["a", "E", "EN", "ND", "D", "STOP", "!", " "]), min_size=1, max_size=12), st.data())
def test_an_answer_that_goes_on_elsewhere_says_the_same(pieces: list[str], data: st.DataObject) -> None:
    whole = told(Answer(JOB, 1, 50), pieces, Finish.LENGTH)
    first = told(Answer(JOB, 1, 50), pieces[: data.draw(st.integers(0, len(pieces)))])
    said = "".join(e.text for e in first)
    if not (first and first[-1].last):
        resume = Resume(tuple(t for e in first for t in e.tokens), first[-1].held if first else "")
        job = JOB.going_on("again", resume)
        rest = told(Answer(job, 1, 50 - len(resume.tokens)), pieces[len(resume.tokens) :], Finish.LENGTH)
        said += "".join(e.text for e in rest)
        if rest:
            assert rest[-1].stopped_by == whole[-1].stopped_by
        else:
            said += resume.held
    assert said == "".join(e.text for e in whole)


def test_going_on_moves_the_seed_and_keeps_the_rest() -> None:
    job = replace(JOB, sampling=Sampling(seed=41, temperature=0.5))
    again = job.going_on("other", Resume((1, 2, 3), "E"))
    assert again.sampling == Sampling(seed=44, temperature=0.5)
    assert again.key == "other"
    assert (again.max_tokens, again.stops, again.prompt) == (job.max_tokens, job.stops, job.prompt)
    assert JOB.going_on("other", Resume((1,))).sampling.seed is None


def test_room_of_an_answer_that_goes_on_has_what_was_delivered() -> None:
    job = JOB.going_on("other", Resume((1, 2, 3)))
    assert Answer(job, prompt_tokens=10, max_tokens=47).holds == 60
