"""Micro-batching in front of an encoder: many queries, one worker thread, nothing heavy on the event loop.

What arrives while a batch runs becomes the next one, the oldest `max_batch` texts; so an idle encoder answers at once
and a busy one gains from batching, without any timer. Texts of like length run together, the group with the oldest text
first: a short question neither pays for the padding of a long one nor waits until that is done. The queue is bounded,
and who leaves takes its text out of it; so does a text that has waited for `timeout_s`, since nobody can be waiting any
more. While the running group is already over that time, newcomers are turned away at once instead of waiting for what
will not come.

Leaves out: what the encode function is, deadlines of callers (encoder_client.py), and stopping a batch that runs: a
thread cannot be interrupted, its answer is dropped.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from gateway.observability.logs import log_event
from gateway.routing.base import RoutingUnavailableError
from router_core.encoder_text import length_groups
from router_core.tensors import FloatArray

EncodeFunction = Callable[[Sequence[str]], tuple[FloatArray, FloatArray]]
"""B texts -> their vectors, float32 (B, D), and the share of each that was cut off, float32 (B,), 0..1."""

Place = asyncio.Future[tuple[FloatArray, float]]
"""A caller's place: gets the vector, float32 (D,), and the share of the text that was cut off, 0..1."""

_LENGTH_OF_NOTHING = 16
"""What an encoder adds to any text, in characters: its special tokens. Texts far shorter than that cost the same."""

_LATE = "the encoder is late"
_STOPPING = "the encoder is stopping"

_logger = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    text: str
    since: float


class BatchingEncoder:
    """Runs an encode function for many callers."""

    def __init__(self, load: Callable[[], EncodeFunction], *, timeout_s: float, max_batch: int, max_queue: int) -> None:
        self._load = load
        self._timeout_s = timeout_s
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._is_open = False
        self._waiting: dict[Place, _Waiting] = {}
        self._arrived = asyncio.Event()
        self._busy_since: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._runner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Call `load` in the worker thread; whatever it raises is raised here."""
        encode = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        self._is_open = True
        self._runner = asyncio.create_task(self._run(encode), name="encoder")

    @property
    def busy_s(self) -> float:
        """How long the group that runs has been running; 0 if none does."""
        return 0.0 if self._busy_since is None else asyncio.get_running_loop().time() - self._busy_since

    def submit(self, text: str) -> Place:
        """A place in the queue, to be cancelled by who leaves.

        Raises RoutingUnavailableError in a few words if there is none to be had; so does the place if encoding fails.
        """
        if not self._is_open:
            raise RoutingUnavailableError(_STOPPING)
        if len(self._waiting) >= self._max_queue:
            raise RoutingUnavailableError("the encoder's queue is full")
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.busy_s > self._timeout_s:
            raise RoutingUnavailableError(_LATE)
        place: Place = loop.create_future()
        self._waiting[place] = _Waiting(text, now)
        place.add_done_callback(self._leave)
        self._arrived.set()
        return place

    async def aclose(self) -> None:
        """Turn away who waits and let the thread end after its batch."""
        self._is_open = False
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        _fail(list(self._waiting), _STOPPING)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _leave(self, place: Place) -> None:
        self._waiting.pop(place, None)

    async def _run(self, encode: EncodeFunction) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                for group in self._next_groups():
                    taken = self._taken(group)
                    if taken:
                        await self._run_group(encode, taken)

    def _next_groups(self) -> list[list[Place]]:
        """The oldest `max_batch` callers, grouped by the length of their texts, the group with the oldest first."""
        oldest = list(self._waiting.items())[: self._max_batch]
        lengths = [_LENGTH_OF_NOTHING + len(waiting.text) for _, waiting in oldest]
        groups = sorted(length_groups(lengths, most=self._max_batch), key=min)
        return [[oldest[index][0] for index in sorted(group)] for group in groups]

    def _taken(self, group: Iterable[Place]) -> dict[Place, str]:
        """Who of `group` is still there, out of the queue; who has waited too long is told."""
        oldest = asyncio.get_running_loop().time() - self._timeout_s
        taken = {}
        for place in group:
            waiting = self._waiting.pop(place, None)
            if waiting is None or place.done():
                continue
            if waiting.since < oldest:
                place.set_exception(RoutingUnavailableError(_LATE))
            else:
                taken[place] = waiting.text
        return taken

    async def _run_group(self, encode: EncodeFunction, taken: dict[Place, str]) -> None:
        loop = asyncio.get_running_loop()
        texts = list(taken.values())
        self._busy_since = loop.time()
        try:
            vectors, lost = await loop.run_in_executor(self._thread, _encoded, encode, texts)
        except asyncio.CancelledError:
            _fail(taken, _STOPPING)
            raise
        except Exception as error:  # noqa: BLE001 - border: torch and drivers raise types of their own
            # The type only: a tokenizer may quote the text in its message.
            log_event(_logger, "encoder_failed", level=logging.ERROR, error=type(error).__name__, texts=len(texts))
            _fail(taken, f"the encoder failed ({type(error).__name__})")
        else:
            for place, vector, share in zip(taken, vectors, lost.tolist(), strict=True):
                if not place.done():
                    place.set_result((vector, share))
        finally:
            self._busy_since = None


def _encoded(encode: EncodeFunction, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    vectors, lost = encode(texts)
    if not len(vectors) == len(lost) == len(texts):
        raise ValueError(f"the encoder gave {len(vectors)} vectors and {len(lost)} shares for {len(texts)} texts")
    return vectors, np.asarray(lost, dtype=np.float32)


def _fail(places: Iterable[Place], why: str) -> None:
    for place in places:
        if not place.done():
            place.set_exception(RoutingUnavailableError(why))
