"""Counts and durations in plain numbers, kept between one rendering of the metrics and the next.

The library takes a lock for every number, and with several workers writes it to a file too: more than a request can pay
eight times over. So requests add to these, and `hand_over` gives the sums to the library. Label values are the caller's
to bound. Belongs to one event loop; takes no lock.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram


class Tally:
    """The count of one series that its counter does not hold yet."""

    __slots__ = ("_counter", "count")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self.count = 0

    def hand_over(self) -> None:
        """Add the count to the counter."""
        if self.count:
            # Taken before: a count that the counter refuses must not stand in the way of all that follow.
            count, self.count = self.count, 0
            self._counter.inc(count)


class Durations:
    """The durations of one series, in seconds, that its histogram with the buckets `bounds_s` does not hold yet."""

    __slots__ = ("_bounds_s", "_counts", "_histogram", "_sum_s")

    def __init__(self, histogram: Histogram, bounds_s: Sequence[float]) -> None:
        self._histogram = histogram
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def hand_over(self) -> None:
        """Add the counts to the histogram, as its `observe` does with one at a time."""
        if not any(self._counts):
            return
        counts, self._counts = self._counts, [0] * len(self._counts)
        sum_s, self._sum_s = self._sum_s, 0.0
        self._histogram._sum.inc(sum_s)
        for count, bucket in zip(counts, self._histogram._buckets, strict=True):
            if count:
                bucket.inc(count)


Series = TypeVar("Series", Tally, Durations)


class Family(Generic[Series]):
    """The series of one metric by the values of their labels."""

    def __init__(self, make: Callable[[tuple[str, ...]], Series]) -> None:
        self._make: Callable[[tuple[str, ...]], Series] = make
        self._series: dict[tuple[str, ...], Series] = {}

    def get(self, labels: tuple[str, ...]) -> Series | None:
        """The series of these label values, None if it has not been opened."""
        return self._series.get(labels)

    def open(self, *labels: str) -> Series:
        """The series of these label values, made if there is none yet."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._make(labels)
        return series

    def hand_over(self) -> None:
        """Hand over every series."""
        for series in self._series.values():
            series.hand_over()


def counter_family(counter: Counter) -> Family[Tally]:
    """The series of a counter."""
    return Family(lambda labels: Tally(counter.labels(*labels)))


def histogram_family(histogram: Histogram, bounds_s: Sequence[float]) -> Family[Durations]:
    """The series of a histogram with the buckets `bounds_s`."""
    return Family(lambda labels: Durations(histogram.labels(*labels), bounds_s))
