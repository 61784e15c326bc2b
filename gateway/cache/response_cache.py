"""Whole answers, kept for the keys that ask for it, and one question to the model for many who ask the same at once.

The first request that finds nothing asks the model in its Turn; the others wait for what it hears. When its client
leaves, the next of them takes the turn. When the model gives it anything but a complete answer, each of the others asks
for itself, so that nobody is told a stranger's error and nobody waits through a row of failures; neither does anybody
wait longer than for a model's first byte.

Promises: only complete answers of status 200 within `max_entry_bytes` are kept. A store that is down is a miss.
`cache-control: no-store` keeps a request away from the cache, `no-cache` makes it ask the model and keeps the answer.
Leaves out streams that are still running: who waits for one gets it when it is complete, since a stream that is shared
while it runs could only end with its first reader's fault.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from gateway.cache.key import answer_key
from gateway.cache.store import AnswerStore, MemoryAnswers, SharedAnswers
from gateway.errors import GatewayError
from gateway.observability.metrics import Metrics
from gateway.settings import ANONYMOUS_KEY, Settings
from gateway.state.base import State

PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
"""Endpoints whose answer depends on the request alone; /v1/responses may go on from what a server remembers."""


class Question(msgspec.Struct, frozen=True):
    """A request as the cache sees it: what its answer is kept under; `is_fresh` if no kept one will do."""

    name: str
    is_fresh: bool


class ResponseCache:
    """Finds answers or says who is to ask. `build_response_cache` makes one from the settings."""

    def __init__(
        self,
        store: AnswerStore,
        *,
        keys: frozenset[str | None],
        max_entry_bytes: int,
        patience_s: float,
        metrics: Metrics,
    ) -> None:
        self.max_entry_bytes = max_entry_bytes
        self._store = store
        self._keys = keys
        self._patience_s = patience_s
        self._metrics = metrics
        self._turns: dict[str, Turn] = {}
        self._storing: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Finish storing what is being stored."""
        await asyncio.gather(*self._storing, return_exceptions=True)

    def question(
        self,
        *,
        key_id: str | None,
        path: str,
        model: str,
        served_name: str,
        headers: Mapping[str, str],
        fields: Mapping[str, msgspec.Raw],
    ) -> Question | None:
        """What to look for; None for a request that the cache has nothing to do with."""
        if key_id not in self._keys or path not in PATHS:
            return None
        directives = {word.strip().lower() for word in headers.get("cache-control", "").split(",")}
        if "no-store" in directives:
            return None
        name = answer_key(key_id=key_id, path=path, model=model, served_name=served_name, fields=fields)
        return None if name is None else Question(name, "no-cache" in directives)

    async def find(self, question: Question) -> "Found | Turn":
        """A kept answer, or the turn to ask the model."""
        name, deadline = question.name, None
        while not question.is_fresh:
            turn = self._turns.get(name)
            if turn is None:
                turn = self._turns[name] = Turn(self, name)
                return await self._looked_up(turn)
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self._patience_s
            try:
                async with asyncio.timeout_at(deadline):
                    await turn.over.wait()
            except TimeoutError:
                break
            if turn.answer is not None:
                self._metrics.response_cached("joined")
                return Found(turn.answer, "joined")
            if turn.has_failed:
                break
        self._metrics.response_cached("miss")
        return Turn(self, name)

    async def _looked_up(self, turn: "Turn") -> "Found | Turn":
        """The answer that is kept, for whoever waits too, or the turn, which has begun."""
        with contextlib.ExitStack() as unless_told:
            unless_told.callback(self.end, turn)
            answer = await self._store.get(turn.name)
            unless_told.pop_all()
        if answer is None:
            self._metrics.response_cached("miss")
            return turn
        turn.answer = answer
        self.end(turn)
        self._metrics.response_cached("hit")
        return Found(answer, "hit")

    def keep(self, turn: "Turn", answer: bytes) -> None:
        """Store the answer of a turn, which ends then; nobody waits for it."""
        task = asyncio.create_task(self._stored(turn, answer), name="store answer")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)

    def end(self, turn: "Turn") -> None:
        """Let those go on who wait for `turn`, and whoever comes now begin another."""
        if self._turns.get(turn.name) is turn:
            del self._turns[turn.name]
        turn.over.set()

    async def _stored(self, turn: "Turn", answer: bytes) -> None:
        try:
            if await self._store.put(turn.name, answer):
                self._metrics.response_cached("stored")
        finally:
            self.end(turn)


class Found(msgspec.Struct, frozen=True):
    """A complete answer, as bytes for the client: kept (`hit`), or just given to another request (`joined`)."""

    answer: bytes
    use: Literal["hit", "joined"]


class Turn:
    """One request's turn to ask the model, from the miss to its end as a context.

    `add` takes the parts of an answer as they come; `complete` says that there are no more and that it may be kept.
    `over` is set when those who wait for it can go on.
    """

    def __init__(self, cache: ResponseCache, name: str) -> None:
        self.name = name
        self.over = asyncio.Event()
        self.answer: bytes | None = None
        self.has_failed = False
        self._cache = cache
        self._parts: list[bytes] = []
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.answer is not None or self.has_failed:
            return
        if error is None or isinstance(error, GatewayError):
            self.give_up()
        else:
            # The client has left: nothing speaks against another try.
            self._cache.end(self)

    def add(self, part: bytes) -> None:
        """The next part of the answer; one that grows too large is let go."""
        if self.has_failed:
            return
        self._size += len(part)
        self._parts.append(part)
        if self._size > self._cache.max_entry_bytes:
            self.give_up()

    @property
    def kept(self) -> bytes:
        """What has been added; nothing of an answer that has been let go."""
        return b"".join(self._parts)

    def complete(self) -> None:
        """The answer is whole: give it to those who wait, and keep it."""
        if not self.has_failed:
            self.answer = b"".join(self._parts)
            self.over.set()
            self._cache.keep(self, self.answer)

    def give_up(self) -> None:
        """No answer for keeping will come: let those who wait ask for themselves."""
        self.has_failed = True
        self._parts.clear()
        self._cache.end(self)


def build_response_cache(settings: Settings, state: State, metrics: Metrics) -> ResponseCache | None:
    """The cache that `cache.keys` asks for; None if no key does."""
    options = settings.cache
    if not options.keys:
        return None
    store: AnswerStore = (
        MemoryAnswers(ttl_s=options.ttl_s, max_bytes=options.max_bytes)
        if settings.state.redis_url is None
        else SharedAnswers(state, ttl_s=options.ttl_s)
    )
    return ResponseCache(
        store,
        keys=frozenset(None if key == ANONYMOUS_KEY else key for key in options.keys),
        max_entry_bytes=options.max_entry_bytes,
        patience_s=settings.upstream.first_byte_timeout_s,
        metrics=metrics,
    )
