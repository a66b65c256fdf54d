"""Estimates and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.nouns import GIB, spec
from xinfer.catalog.spec import LlmTraits
from xinfer.cluster.device import DeviceKind
from xinfer.cluster.memory import CUDA_CONTEXT, CUDA_WORKSPACE, MIB, estimate, format_bytes, parse_bytes, redivided, with_headroom
from xinfer.errors import InvalidRequest


def test_small_models_get_the_least_workspace() -> None:
    assert estimate(spec(weight_bytes=100 * MIB), 600 * MIB, DeviceKind.GPU) == 120 * MIB + CUDA_WORKSPACE + CUDA_CONTEXT


def test_large_models_get_as_much_workspace_as_weights() -> None:
    assert estimate(spec(weight_bytes=10 * GIB), 600 * MIB, DeviceKind.GPU) == 22 * GIB + CUDA_CONTEXT


def test_headroom_is_a_tenth_and_nothing_stays_nothing() -> None:
    assert with_headroom(1000) == 1100
    assert with_headroom(0) == 0


@pytest.mark.parametrize("kind", [DeviceKind.CPU, DeviceKind.SIMULATED])
def test_libraries_count_where_host_memory_is_the_devices(kind: DeviceKind) -> None:
    assert estimate(spec(weight_bytes=100 * MIB), 600 * MIB, kind) == (120 + 600 + 512) * MIB


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1),
        ("1024", 1024),
        ("2GiB", 2 * GIB),
        (" 2 gib ", 2 * GIB),
        ("2G", 2 * GIB),
        ("2GB", 2 * 10**9),
        ("1.5GiB", GIB * 3 // 2),
        ("200MiB", 200 * MIB),
        ("7b", 7),
        ("1TiB", 1024 * GIB),
        ("0.1KB", 100),
    ],
)
def test_sizes_as_people_write_them(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "bad", ["", "GiB", "-1", -1, 0, "0", "0.0001KiB", "1e9", "2 PiB", "two", True, 1 << 61, "999999999TiB", "²GiB", "1 GiB x"]
)
def test_what_is_no_size_is_refused_by_field(bad: str | int) -> None:
    with pytest.raises(InvalidRequest, match=r"^reserve must be a size") as caught:
        parse_bytes(bad, "reserve")
    assert caught.value.param == "reserve"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (600 * MIB, "600 MiB"),
        (GIB * 3 // 2, "1.5 GiB"),
        (2000 * MIB, "2 GiB"),
        (-GIB, "-1 GiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(1, 1 << 60))
def test_a_formatted_size_reads_back_to_within_its_last_digit(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.06)


def test_several_gpus_hold_a_share_of_the_weights_each_with_a_context_and_a_workspace_of_its_own() -> None:
    assert estimate(spec(weight_bytes=10 * GIB), 600 * MIB, DeviceKind.GPU, 2) == 11 * GIB + CUDA_CONTEXT
    assert estimate(spec(weight_bytes=100 * MIB), 600 * MIB, DeviceKind.GPU, 2) == 60 * MIB + CUDA_WORKSPACE + CUDA_CONTEXT


@given(st.integers(0, 100 * GIB), st.integers(1, 16), st.sampled_from(DeviceKind))
def test_all_devices_together_are_reserved_what_one_would_be(weights: int, n_devices: int, kind: DeviceKind) -> None:
    whole = estimate(spec(weight_bytes=weights), 600 * MIB, kind)
    part = estimate(spec(weight_bytes=weights), 600 * MIB, kind, n_devices)
    assert part <= whole <= part * n_devices
    if kind is not DeviceKind.GPU:
        assert part * n_devices - whole < n_devices


@given(st.integers(0, 100 * GIB), st.integers(1, 16), st.integers(1, 16), st.sampled_from(DeviceKind))
def test_a_measured_figure_is_divided_anew_and_the_context_is_not(size: int, before: int, after: int, kind: DeviceKind) -> None:
    again = redivided(size, before, after, kind)
    context = min(size, CUDA_CONTEXT) if kind is DeviceKind.GPU else 0
    assert 0 <= (again - context) * after - (size - context) * before < after
    assert redivided(size, before, before, kind) == size


def test_a_language_models_kv_cache_is_counted_whole_and_its_workspace_does_not_grow() -> None:
    llm = spec(weight_bytes=10 * GIB).model_copy(update={"llm": LlmTraits(kv_bytes_per_token=1 << 17, kv_tokens=16384)})
    assert estimate(llm, 600 * MIB, DeviceKind.GPU) == 12 * GIB + CUDA_CONTEXT + CUDA_WORKSPACE + 2 * GIB
    assert estimate(llm, 600 * MIB, DeviceKind.GPU, 2) == 6 * GIB + CUDA_CONTEXT + CUDA_WORKSPACE + GIB
    assert estimate(llm, 600 * MIB, DeviceKind.CPU) == 14 * GIB + (600 + 512) * MIB
