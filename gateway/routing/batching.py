"""Micro-batching in front of an encoder: many requests, one worker thread, nothing heavy on the event loop.

What arrives while a batch runs becomes the next one, the oldest `max_batch` texts; so an idle encoder answers at once
and a busy one gains from batching, without any timer. Texts of like length run together, the group with the oldest text
first: a short question neither pays for the padding of a long one nor waits until that is done. The queue is bounded,
every caller has a deadline, and a caller that leaves takes its text out of the queue. While the running group is
already over the deadline, newcomers are turned away at once instead of waiting for what will not come.

Leaves out: what the encode function is, and stopping a batch that runs: a thread cannot be interrupted, its answer is
dropped.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from gateway.observability.logs import log_event
from gateway.routing.base import RoutingUnavailableError
from router_core.encoder_text import length_groups

FloatArray = npt.NDArray[np.float32]
EncodeFunction = Callable[[Sequence[str]], tuple[FloatArray, FloatArray]]
"""B texts -> their vectors, float32 (B, D), and the share of each that was cut off, float32 (B,), 0..1."""

_LENGTH_OF_NOTHING = 16
"""What an encoder adds to any text, in characters: its special tokens. Texts far shorter than that cost the same."""

_Place = asyncio.Future[tuple[FloatArray, float]]

_logger = logging.getLogger(__name__)


class BatchingEncoder:
    """Runs an encode function for many callers. Raises RoutingUnavailableError in a few words whenever it cannot."""

    def __init__(self, load: Callable[[], EncodeFunction], *, timeout_s: float, max_batch: int, max_queue: int) -> None:
        self._load = load
        self._timeout_s = timeout_s
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._encode: EncodeFunction | None = None
        self._waiting: dict[_Place, str] = {}
        self._arrived = asyncio.Event()
        self._busy_since: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._runner: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """True from a successful `start` until `aclose`."""
        return self._encode is not None

    async def start(self) -> None:
        """Call `load` in the worker thread; whatever it raises is raised here."""
        self._encode = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        self._runner = asyncio.create_task(self._run(self._encode), name="encoder")

    async def encode(self, text: str) -> tuple[FloatArray, float]:
        """The vector of `text`, float32 (D,), and the share of the text that was cut off, 0..1."""
        loop = asyncio.get_running_loop()
        if self._encode is None:
            raise RoutingUnavailableError("the encoder is not loaded")
        if len(self._waiting) >= self._max_queue:
            raise RoutingUnavailableError("the encoder's queue is full")
        if self._busy_since is not None and loop.time() - self._busy_since > self._timeout_s:
            raise RoutingUnavailableError("the encoder is late")
        place: _Place = loop.create_future()
        self._waiting[place] = text
        self._arrived.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await place
        except TimeoutError:
            raise RoutingUnavailableError("the encoder is late") from None
        finally:
            self._waiting.pop(place, None)

    async def aclose(self) -> None:
        """Turn away who waits and let the thread end after its batch."""
        self._encode = None
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        _settle(self._waiting, RoutingUnavailableError("the gateway is stopping"))
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, encode: EncodeFunction) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                for group in self._next_groups():
                    # Who has left in the meantime is not encoded.
                    taken = {place: self._waiting.pop(place) for place in group if place in self._waiting}
                    if taken:
                        await self._run_group(encode, taken)

    def _next_groups(self) -> list[list[_Place]]:
        """The oldest `max_batch` callers, grouped by the length of their texts, the group with the oldest first."""
        oldest = list(self._waiting.items())[: self._max_batch]
        lengths = [_LENGTH_OF_NOTHING + len(text) for _, text in oldest]
        groups = sorted(length_groups(lengths, most=self._max_batch), key=min)
        return [[oldest[index][0] for index in sorted(group)] for group in groups]

    async def _run_group(self, encode: EncodeFunction, taken: Mapping[_Place, str]) -> None:
        loop = asyncio.get_running_loop()
        texts = list(taken.values())
        self._busy_since = loop.time()
        try:
            _settle(taken, await loop.run_in_executor(self._thread, _encoded, encode, texts))
        except asyncio.CancelledError:
            _settle(taken, RoutingUnavailableError("the gateway is stopping"))
            raise
        except Exception as error:  # noqa: BLE001 - border: torch and drivers raise types of their own
            # The type only: a tokenizer may quote the text in its message.
            log_event(_logger, "encoder_failed", level=logging.ERROR, error=type(error).__name__, texts=len(texts))
            _settle(taken, RoutingUnavailableError(f"the encoder failed ({type(error).__name__})"))
        finally:
            self._busy_since = None


def _encoded(encode: EncodeFunction, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    vectors, lost = encode(texts)
    if not len(vectors) == len(lost) == len(texts):
        raise ValueError(f"the encoder gave {len(vectors)} vectors and {len(lost)} shares for {len(texts)} texts")
    return vectors, lost


def _settle(
    places: Iterable[_Place],
    outcome: tuple[FloatArray, FloatArray] | RoutingUnavailableError,
) -> None:
    """Give each caller its row, or all of them the error; who has left is skipped."""
    for i, place in enumerate(places):
        if place.done():
            continue
        if isinstance(outcome, RoutingUnavailableError):
            place.set_exception(outcome)
        else:
            place.set_result((outcome[0][i], float(outcome[1][i])))
