"""The picture is well-formed, to scale, and says what it shows."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from xinfer.bench.readings import Lane
from xinfer.bench.svg import LANE, LEFT, RIGHT, WIDTH, mean_of, picture, tick

SVG = "{http://www.w3.org/2000/svg}"


def words(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_one_lane_per_replica_with_name_axes_and_time() -> None:
    found = [Lane("ce-0 on 10.0.0.1@0", ((1.0, 1.0), (4.0, 0.5))), Lane("<b> & co", ((4.0, 0.25),))]
    root = ElementTree.fromstring(picture("ce: 50 documents/s", found, 4.0))
    said = words(root)
    assert "ce: 50 documents/s" in said
    assert "<b> & co: 25% busy" in said
    assert said.count("100%") == said.count("0%") == 2
    assert "seconds since the start" in said
    assert len(list(root.iter(f"{SVG}path"))) == 2


def test_areas_are_steps_to_scale() -> None:
    root = ElementTree.fromstring(picture("t", [Lane("a", ((1.0, 1.0), (2.0, 0.0)))], 2.0))
    path = next(root.iter(f"{SVG}path")).attrib["d"]
    xs_ys = [tuple(map(float, part.lstrip("ML").split(","))) for part in path.removesuffix(" Z").split()]
    middle, base = LEFT + (WIDTH - LEFT - RIGHT) / 2, xs_ys[0][1]
    assert xs_ys == [(LEFT, base), (LEFT, base - LANE), (middle, base - LANE), (middle, base), (WIDTH - RIGHT, base), (WIDTH - RIGHT, base)]


def test_the_mean_is_over_time_not_over_samples() -> None:
    assert mean_of(Lane("a", ((1.0, 1.0), (4.0, 0.0)))) == pytest.approx(0.25)
    assert mean_of(Lane("a", ())) == 0.0


def test_a_picture_without_replicas_says_so() -> None:
    assert "No replica reported how busy it was." in words(ElementTree.fromstring(picture("t", [], 0.0)))


@pytest.mark.parametrize(("span", "step"), [(0.8, 0.1), (10, 1), (11, 2), (26, 5), (95, 10), (600, 100), (1e-9, 1e-10)])
def test_ticks_are_round_and_few(span: float, step: float) -> None:
    assert tick(span) == pytest.approx(step)
