"""Tallies come to what the library counts by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.observability.tallies import counter_family, histogram_family

BOUNDS_S = (0.5, 1.0, 2.5)


def exposed(registry: CollectorRegistry) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.5, 3.0, 1e9]))))
def test_durations_come_to_what_observe_counts(batches: list[list[float]]) -> None:
    own, theirs = CollectorRegistry(), CollectorRegistry()
    family = histogram_family(Histogram("h", "h", ["of"], buckets=BOUNDS_S, registry=own), BOUNDS_S)
    library = Histogram("h", "h", ["of"], buckets=BOUNDS_S, registry=theirs)
    for batch in batches:
        for seconds in batch:
            family.open("a").add(seconds)
            library.labels("a").observe(seconds)
        family.hand_over()
        assert exposed(own) == exposed(theirs)


def test_a_count_is_handed_over_once() -> None:
    registry = CollectorRegistry()
    family = counter_family(Counter("c", "c", ["of"], registry=registry))
    family.open("a").count += 2
    family.hand_over()
    family.hand_over()
    assert exposed(registry) == [("c_total", {"of": "a"}, 2.0)]


def test_what_the_library_refuses_is_refused_once() -> None:
    registry = CollectorRegistry()
    family = counter_family(Counter("c", "c", ["of"], registry=registry))
    family.open("a").count += 10**400
    with pytest.raises(OverflowError):
        family.hand_over()
    family.open("a").count += 2
    family.hand_over()
    assert exposed(registry) == [("c_total", {"of": "a"}, 2.0)]


def test_a_series_is_known_once_it_is_open() -> None:
    family = counter_family(Counter("c", "c", ["of"], registry=CollectorRegistry()))
    assert family.get(("a",)) is None
    assert family.open("a") is family.open("a") is family.get(("a",))
