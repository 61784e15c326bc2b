"""One question for many who ask the same: who waits, who takes over, and who is told what."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.cache.response_cache import Found, Question, ResponseCache, Turn, build_response_cache
from gateway.cache.store import MemoryAnswers
from gateway.errors import UpstreamError
from gateway.observability.metrics import RESPONSE_CACHE_USES, Metrics
from gateway.state.memory import MemoryState
from tests.gateway.observability.test_metrics import value
from tests.support.eventually import eventually
from tests.support.settings import make_settings

ASKED = Question("name", is_fresh=False)
FRESH = Question("name", is_fresh=True)
PATH = "/v1/chat/completions"


class Model:
    """Counts its questions; each is answered when the test says so, in the order in which they came."""

    def __init__(self) -> None:
        self.questions: list[asyncio.Future[bytes]] = []

    async def ask(self) -> bytes:
        self.questions.append(asyncio.get_running_loop().create_future())
        return await self.questions[-1]


class SlowStore(MemoryAnswers):
    """Answers when `goes` is set, and may fail."""

    def __init__(self) -> None:
        super().__init__(ttl_s=100.0, max_bytes=10**6)
        self.goes = asyncio.Event()
        self.asked = 0

    async def get(self, name: str) -> bytes | None:
        self.asked += 1
        await self.goes.wait()
        return await super().get(name)


def make(store: Any = None, **options: Any) -> tuple[ResponseCache, Metrics]:
    metrics = Metrics([])
    cache = ResponseCache(
        store or MemoryAnswers(ttl_s=100.0, max_bytes=10**6),
        **{
            "keys": frozenset({"k"}),
            "max_entry_bytes": 100,
            "patience_s": 30.0,
            "metrics": metrics,
            **options,
        },
    )
    return cache, metrics


def counts(metrics: Metrics) -> dict[str, float]:
    found = {use: value(metrics, "gateway_response_cache_total", result=use) for use in RESPONSE_CACHE_USES}
    return {use: count for use, count in found.items() if count}


async def request(cache: ResponseCache, model: Model, question: Question = ASKED) -> bytes:
    """A request as the edge serves it."""
    found = await cache.find(question)
    if isinstance(found, Found):
        return found.answer
    with found as turn:
        answer = await model.ask()
        turn.add(answer[:1])
        turn.add(answer[1:])
        if not answer.startswith(b"refused"):
            turn.complete()
        return answer


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def several(cache: ResponseCache, model: Model, count: int) -> list[asyncio.Task[bytes]]:
    tasks = [asyncio.create_task(request(cache, model)) for _ in range(count)]
    await settle()
    return tasks


async def test_an_answer_is_kept_and_found() -> None:
    cache, metrics = make()
    model = Model()
    (first,) = await several(cache, model, 1)
    model.questions[0].set_result(b"answer")
    assert await first == b"answer"
    await settle()
    assert await cache.find(ASKED) == Found(b"answer", "hit")
    assert await cache.find(ASKED) == Found(b"answer", "hit")
    assert counts(metrics) == {"miss": 1, "stored": 1, "hit": 2}


async def test_many_at_once_ask_once() -> None:
    cache, metrics = make()
    model = Model()
    tasks = await several(cache, model, 500)
    assert len(model.questions) == 1
    model.questions[0].set_result(b"answer")
    assert set(await asyncio.gather(*tasks)) == {b"answer"}
    assert counts(metrics) == {"miss": 1, "joined": 499, "stored": 1}


async def test_other_questions_do_not_wait() -> None:
    cache, _ = make()
    model = Model()
    await several(cache, model, 1)
    other = asyncio.create_task(request(cache, model, Question("other", is_fresh=False)))
    await settle()
    assert len(model.questions) == 2
    model.questions[1].set_result(b"other")
    assert await other == b"other"


async def test_when_the_first_leaves_the_next_takes_over_and_the_others_go_on_waiting() -> None:
    cache, _ = make()
    model = Model()
    tasks = await several(cache, model, 5)
    for left in (0, 1):
        tasks[left].cancel()
        await settle()
        assert len(model.questions) == left + 2
    model.questions[2].set_result(b"answer")
    assert await asyncio.gather(*tasks[2:]) == [b"answer"] * 3
    assert all(task.cancelled() for task in tasks[:2])


async def test_a_waiter_that_leaves_disturbs_nobody() -> None:
    cache, _ = make()
    model = Model()
    tasks = await several(cache, model, 4)
    tasks[1].cancel()
    tasks[3].cancel()
    await settle()
    model.questions[0].set_result(b"answer")
    assert [await tasks[0], await tasks[2]] == [b"answer"] * 2
    assert len(model.questions) == 1


async def test_nobody_is_told_a_strangers_error() -> None:
    cache, _ = make()
    model = Model()
    tasks = await several(cache, model, 4)
    model.questions[0].set_exception(UpstreamError("the first's own"))
    await settle()
    # Each of the others asks for itself, at once.
    assert len(model.questions) == 4
    for number, question in enumerate(model.questions[1:], start=1):
        question.set_result(str(number).encode())
    with pytest.raises(UpstreamError, match="the first's own"):
        await tasks[0]
    assert await asyncio.gather(*tasks[1:]) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("answer", [b"refused", b"x" * 101])
async def test_what_is_not_for_keeping_reaches_its_own_client_alone(answer: bytes) -> None:
    cache, metrics = make()
    model = Model()
    tasks = await several(cache, model, 3)
    model.questions[0].set_result(answer)
    await settle()
    assert len(model.questions) == 3
    for number, question in enumerate(model.questions[1:], start=1):
        question.set_result(str(number).encode())
    assert await asyncio.gather(*tasks) == [answer, b"1", b"2"]
    assert answer not in {getattr(await cache.find(ASKED), "answer", None)}
    assert counts(metrics)["miss"] == 3


async def test_those_who_wait_have_the_answer_before_the_first_ones_client_does() -> None:
    cache, _ = make()
    found = await cache.find(ASKED)
    assert isinstance(found, Turn)
    with found as turn:
        waiter = asyncio.create_task(cache.find(ASKED))
        await settle()
        turn.add(b"answer")
        turn.complete()
        assert await waiter == Found(b"answer", "joined")
        # The first one's client is still reading, or leaves: the answer is whole all the same.
    await settle()
    assert await cache.find(ASKED) == Found(b"answer", "hit")


async def test_those_who_wait_are_let_go_as_soon_as_nothing_will_come() -> None:
    cache, _ = make()
    for hopeless in (lambda turn: turn.give_up(), lambda turn: turn.add(bytes(101))):
        with await turn_of(cache.find(ASKED)) as turn:
            waiter = asyncio.create_task(cache.find(ASKED))
            await settle()
            hopeless(turn)
            with await turn_of(waiter):
                pass
            # Whoever comes later may begin a turn for all again.
            with await turn_of(cache.find(ASKED)) as later:
                assert later is not turn
            turn.add(b"more")
            turn.complete()
    assert isinstance(await cache.find(ASKED), Turn)


async def test_nobody_waits_for_ever() -> None:
    cache, _ = make(patience_s=0.01)
    model = Model()
    tasks = await several(cache, model, 2)

    async def second_asks() -> bool:
        return len(model.questions) == 2

    await eventually(second_asks)
    model.questions[1].set_result(b"second")
    assert await tasks[1] == b"second"
    model.questions[0].set_result(b"first")
    assert await tasks[0] == b"first"


async def test_a_fresh_one_asks_by_itself_and_its_answer_is_kept() -> None:
    cache, metrics = make()
    model = Model()
    (waiting,) = await several(cache, model, 1)
    fresh = asyncio.create_task(request(cache, model, FRESH))
    await settle()
    model.questions[1].set_result(b"new")
    assert await fresh == b"new"
    model.questions[0].set_result(b"old")
    assert await waiting == b"old"
    again = asyncio.create_task(request(cache, model, FRESH))
    await settle()
    model.questions[2].set_result(b"newest")
    assert await again == b"newest"
    await settle()
    assert await cache.find(ASKED) == Found(b"newest", "hit")
    assert counts(metrics)["miss"] == 3


async def test_one_look_into_the_store_serves_all_who_ask_at_once() -> None:
    store = SlowStore()
    cache, _ = make(store)
    await store.put("name", b"kept")
    model = Model()
    tasks = await several(cache, model, 10)
    store.goes.set()
    assert set(await asyncio.gather(*tasks)) == {b"kept"}
    assert (store.asked, model.questions) == (1, [])


async def test_who_leaves_while_looking_leaves_the_turn_to_the_next() -> None:
    store = SlowStore()
    cache, _ = make(store)
    model = Model()
    tasks = await several(cache, model, 3)
    tasks[0].cancel()
    await settle()
    store.goes.set()
    await settle()
    assert (store.asked, len(model.questions)) == (2, 1)
    model.questions[0].set_result(b"answer")
    assert await asyncio.gather(*tasks[1:]) == [b"answer"] * 2


async def test_nothing_is_left_behind_whatever_happens() -> None:
    cache, _ = make()
    model = Model()
    outcomes: list[Callable[[asyncio.Future[bytes]], Any]] = [
        lambda question: question.set_result(b"refused"),
        lambda question: question.set_exception(UpstreamError("broken")),
        lambda question: question.set_exception(RuntimeError("a fault")),
        lambda question: question.cancel(),
        lambda question: question.set_result(b"answer"),
    ]
    for outcome in outcomes:
        model.questions.clear()
        (task,) = await several(cache, model, 1)
        outcome(model.questions[0])
        await asyncio.wait([task])
        task.cancelled() or task.exception()
    await cache.aclose()
    assert cache._turns == {}
    assert cache._storing == set()


async def test_closing_waits_for_what_is_being_stored() -> None:
    class Slow(MemoryAnswers):
        async def put(self, name: str, answer: bytes) -> bool:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return await super().put(name, answer)

    store = Slow(ttl_s=10.0, max_bytes=10**6)
    cache, _ = make(store)
    with await turn_of(cache.find(ASKED)) as turn:
        turn.add(b"answer")
        turn.complete()
    await cache.aclose()
    assert await store.get("name") == b"answer"


async def turn_of(finding: Awaitable[Found | Turn]) -> Turn:
    found = await finding
    assert isinstance(found, Turn)
    return found


def question(cache: ResponseCache, **changes: Any) -> Question | None:
    fields = {"messages": msgspec.Raw(b"[]")}
    asked = {"key_id": "k", "path": PATH, "model": "alpha", "served_name": "alpha", "headers": {}, "fields": fields}
    return cache.question(**{**asked, **changes})  # type: ignore[arg-type]


def test_only_who_asks_for_it_and_what_can_be_repeated_has_a_question() -> None:
    cache, _ = make()
    plain = question(cache)
    assert plain is not None
    assert not plain.is_fresh
    for paths in ("/v1/completions", "/v1/embeddings"):
        assert question(cache, path=paths) is not None
    for refused in (
        {"key_id": "other"},
        {"key_id": None},
        {"path": "/v1/responses"},
        {"path": "/v1/messages"},
        {"path": "/tokenize"},
        {"headers": {"cache-control": "No-Store"}},
        {"headers": {"cache-control": "max-age=0, no-store"}},
        {"fields": {"n": msgspec.Raw(b"1e999")}},
    ):
        assert question(cache, **refused) is None
    fresh = question(cache, headers={"cache-control": "no-cache"})
    assert fresh == Question(plain.name, is_fresh=True)


def test_without_keys_there_is_no_cache() -> None:
    assert build_response_cache(make_settings(), MemoryState(), Metrics([])) is None
    settings = make_settings(cache={"keys": ["anonymous"]})
    cache = build_response_cache(settings, MemoryState(), Metrics([]))
    assert cache is not None
    assert question(cache, key_id=None) is not None
