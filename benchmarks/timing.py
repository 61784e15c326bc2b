"""How long one call at a time takes on one core: a routing decision, from the ask's text to the ranking of the models.

Promise: encoding and scoring are timed in the same calls as the whole; nothing is warmed up inside a timing; no library
uses a second thread. What a busy neighbour takes from the core is in the figures, so run it on an idle machine.
"""

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from router_core.tensors import FloatArray
from router_training.routers.one_thread import one_thread

Floats = npt.NDArray[np.float64]
Encode = Callable[[str], tuple[FloatArray, FloatArray]]
"""A text -> its vector (1, D) and the share of it that was cut off (1,)."""
Rank = Callable[[FloatArray, FloatArray], npt.NDArray[np.intp]]
"""What `Encode` gives -> the models, best first, (1, M)."""


@dataclass(frozen=True)
class Decider:
    """A way to decide, and what to say of it beside its figures."""

    name: str
    encode: Encode
    rank: Rank
    note: str


@dataclass(frozen=True)
class Times:
    """Seconds of N calls, (N,) each."""

    encode: Floats
    rank: Floats

    @property
    def decision(self) -> Floats:
        """Both together."""
        return self.encode + self.rank


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Inside, this thread and the threads it starts stay on one core, and numerical libraries use one thread."""
    import torch

    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    try:
        with one_thread():
            yield
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, cores)


def time_decisions(decider: Decider, questions: Sequence[str], *, rounds: int = 1, warm_up: int = 5) -> Times:
    """Decide every question, one after another, `rounds` times over."""
    for question in questions[:warm_up]:
        decider.rank(*decider.encode(question))
    # What training and loading left behind is not what a gateway's collector would have to walk through.
    gc.collect()
    gc.freeze()
    clock = time.perf_counter
    encode_s, rank_s = [], []
    for _ in range(rounds):
        for question in questions:
            began = clock()
            encoded = decider.encode(question)
            done = clock()
            decider.rank(*encoded)
            rank_s.append(clock() - done)
            encode_s.append(done - began)
    gc.unfreeze()
    return Times(np.array(encode_s), np.array(rank_s))
