"""Which replicas are up and which one is asked next. The upstream is a stand-in: only answers to checks matter here."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from gateway.errors import UpstreamConnectError
from gateway.settings import ModelSettings, UpstreamSettings
from gateway.upstream.base import Replica
from gateway.upstream.pool import Pool, replicas_of
from tests.support.eventually import eventually

A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
SETTINGS = UpstreamSettings(health_interval_s=0.01, health_timeout_s=0.05)


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        """Nothing is open."""


class Servers:
    """Answers checks by `status[root_url]`: a number, None for refusing, "hangs" for silence."""

    def __init__(self, **status: object) -> None:
        self.status: dict[str, object] = {A: 200, B: 200}
        self.asked: Counter[str] = Counter()
        self.keys: set[str] = set()

    async def send(self, replica: Replica, *, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked[url] += 1
        self.keys.add(headers.get("authorization", ""))
        status = self.status[replica.root_url]
        if status == "hangs":
            await asyncio.Event().wait()
        if isinstance(status, Exception):
            raise status
        if not isinstance(status, int):
            raise UpstreamConnectError("refused")
        return Answer(status)

    async def aclose(self) -> None:
        """Nothing is open."""


class Gauge:
    def __init__(self) -> None:
        self.up: dict[tuple[str, int], bool] = {}

    def upstream_health(self, model: str, replica_index: int, is_healthy: bool) -> None:
        self.up[model, replica_index] = is_healthy


def model(name: str, *roots: str, key: str | None = None) -> ModelSettings:
    return ModelSettings.model_validate(
        {"name": name, "replicas": [{"base_url": f"{root}/v1", "api_key": key} for root in roots]}
    )


def pool_of(servers: Servers, *models: ModelSettings, settings: UpstreamSettings = SETTINGS) -> tuple[Pool, Gauge]:
    gauge = Gauge()
    return Pool(models, settings, servers, gauge), gauge


async def test_nothing_is_healthy_before_the_first_check() -> None:
    pool, _ = pool_of(Servers(), model("alpha", A))
    assert not pool.is_healthy("alpha")
    assert pool.choose("alpha") is None
    await pool.check()
    assert pool.is_healthy("alpha")
    assert not pool.is_healthy("unknown")


async def test_models_on_one_server_cost_one_check() -> None:
    servers = Servers()
    pool, gauge = pool_of(servers, model("alpha", A, key="secret"), model("beta", A), model("gamma", B))
    await pool.check()
    assert servers.asked == {f"{A}/health": 1, f"{B}/health": 1}
    assert "Bearer secret" in servers.keys
    assert gauge.up == {("alpha", 0): True, ("beta", 0): True, ("gamma", 0): True}


async def test_only_2xx_is_healthy() -> None:
    servers = Servers()
    pool, gauge = pool_of(servers, model("alpha", A, B))
    for status, is_healthy in ((200, True), (204, True), (301, False), (404, False), (503, False), (None, False)):
        servers.status[A] = status
        await pool.check()
        assert gauge.up["alpha", 0] is is_healthy
    servers.status[A] = "hangs"
    await pool.check()
    assert gauge.up == {("alpha", 0): False, ("alpha", 1): True}
    assert pool.is_healthy("alpha")


async def test_it_keeps_asking_until_it_is_closed() -> None:
    servers = Servers()
    servers.status[A] = None
    pool, _ = pool_of(servers, model("alpha", A))
    await pool.start()
    assert not pool.is_healthy("alpha")
    servers.status[A] = 200

    async def is_up() -> bool:
        return pool.is_healthy("alpha")

    await eventually(is_up)
    await pool.aclose()
    asked = servers.asked.total()
    await asyncio.sleep(0.05)
    assert servers.asked.total() == asked


async def test_a_check_that_fails_in_an_unforeseen_way_does_not_end_the_checking() -> None:
    servers = Servers()
    pool, _ = pool_of(servers, model("alpha", A))
    await pool.start()
    servers.status[A] = ValueError("odd")
    asked = servers.asked.total()

    async def is_asked_twice_more() -> bool:
        return servers.asked.total() >= asked + 2

    await eventually(is_asked_twice_more)
    await pool.aclose()


async def test_a_server_marked_down_is_down_for_all_its_models_until_its_next_check() -> None:
    pool, _ = pool_of(Servers(), model("alpha", A), model("beta", A, B))
    await pool.check()
    pool.mark_down(replicas_of(model("alpha", A))[0])
    assert not pool.is_healthy("alpha")
    assert pool.is_healthy("beta")
    chosen = pool.choose("beta")
    assert chosen is not None
    assert chosen.root_url == B
    await pool.check()
    assert pool.is_healthy("alpha")


async def test_the_least_busy_replica_is_chosen_and_turns_are_taken() -> None:
    pool, _ = pool_of(Servers(), model("alpha", A, B))
    await pool.check()
    turns = []
    for _ in range(4):
        replica = pool.choose("alpha")
        assert replica is not None
        with pool.in_use(replica):
            turns.append(replica.index)
    assert turns == [0, 1, 0, 1]
    first = pool.choose("alpha")
    assert first is not None
    with pool.in_use(first):
        for _ in range(3):
            second = pool.choose("alpha")
            assert second is not None
            with pool.in_use(second):
                assert second != first
    assert pool.choose("alpha", [first, second]) is None


async def test_a_full_server_is_not_chosen_for_any_of_its_models() -> None:
    settings = SETTINGS.model_copy(update={"max_connections_per_replica": 2})
    pool, _ = pool_of(Servers(), model("alpha", A), model("beta", A), settings=settings)
    await pool.check()
    alpha, beta = pool.choose("alpha"), pool.choose("beta")
    assert alpha is not None
    assert beta is not None
    with pool.in_use(alpha):
        with pool.in_use(beta):
            assert pool.choose("alpha") is None
            assert pool.choose("beta") is None
            assert pool.is_healthy("alpha")
        assert pool.choose("beta") == beta
