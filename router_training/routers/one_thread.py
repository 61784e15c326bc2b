"""One thread for a small fit, whatever the machine has.

A fit over a few thousand vectors takes less time than the threads of BLAS, OpenMP and torch need to meet, and beside
other work each of them waits spinning for the slowest: ten times slower, not twice as fast. One thread also gives the
same weights on every number of cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, the numerical libraries that are loaded use one thread; afterwards as many as before."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with threadpool_limits(limits=1):
        yield
