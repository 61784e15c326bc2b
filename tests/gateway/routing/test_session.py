from gateway.routing.base import RoutingRequest
from gateway.routing.session import Sessions
from gateway.state.memory import MemoryState
from tests.gateway.routing.samples import BrokenState


class Spy(MemoryState):
    def __init__(self) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = 0.0
        self.names: list[str] = []

    async def put(self, name: str, value: bytes, ttl_s: float) -> None:
        self.names.append(name)
        await super().put(name, value, ttl_s)


def ask(session_id: str | None, key_id: str | None = None) -> RoutingRequest:
    return RoutingRequest(ask="hello", session_id=session_id, key_id=key_id)


async def test_what_is_remembered_is_recalled_until_it_expires() -> None:
    state = Spy()
    sessions = Sessions(state, margin=0.1, ttl_s=60.0)
    assert await sessions.of(ask("s")).recall() is None
    await sessions.of(ask("s")).remember("a")
    state.now = 59.0
    assert await sessions.of(ask("s")).recall() == "a"
    state.now = 61.0
    assert await sessions.of(ask("s")).recall() is None


async def test_one_key_cannot_reach_the_sessions_of_another() -> None:
    sessions = Sessions(MemoryState(), margin=0.1, ttl_s=60.0)
    await sessions.of(ask("s", "k1")).remember("a")
    assert await sessions.of(ask("s", "k2")).recall() is None
    assert await sessions.of(ask("s")).recall() is None
    await sessions.of(ask("b", "a")).remember("a")
    assert await sessions.of(ask("", "ab")).recall() is None


async def test_the_store_never_sees_the_session_or_the_key() -> None:
    state = Spy()
    await Sessions(state, margin=0.1, ttl_s=60.0).of(ask("alice@example.com", "key-one")).remember("a")
    (name,) = state.names
    assert "alice" not in name
    assert "key-one" not in name


async def test_a_request_without_a_session_is_not_stored() -> None:
    state = Spy()
    session = Sessions(state, margin=0.1, ttl_s=60.0).of(ask(None))
    await session.remember("a")
    assert await session.recall() is None
    assert state.names == []


async def test_a_session_id_of_any_text_is_taken() -> None:
    sessions = Sessions(MemoryState(), margin=0.1, ttl_s=60.0)
    for text in ("", "\x00", "\ud800", "é" * 10_000):
        await sessions.of(ask(text)).remember("a")
        assert await sessions.of(ask(text)).recall() == "a"


async def test_a_store_that_is_down_is_asked_once_and_passed_over() -> None:
    state = BrokenState()
    session = Sessions(state, margin=0.1, ttl_s=60.0).of(ask("s"))
    assert await session.recall() is None
    await session.remember("a")
    assert state.calls == 1


def test_the_session_keeps_its_model_up_to_the_margin() -> None:
    sessions = Sessions(MemoryState(), margin=0.25, ttl_s=60.0)
    assert sessions.keeps(0.25)
    assert not sessions.keeps(0.3125)
    assert sessions.keeps(-0.5)
    assert sessions.keeps(None)
