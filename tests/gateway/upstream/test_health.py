"""What is known of the servers, and whom requests then go to; only answers to checks matter here."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping

from gateway.errors import OutOfDescriptorsError, UpstreamConnectError
from gateway.settings import ModelSettings, UpstreamSettings
from gateway.upstream.base import Replica
from gateway.upstream.health import Servers
from gateway.upstream.pool import Pool
from tests.support.eventually import eventually

A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
SETTINGS = UpstreamSettings(health_interval_s=0.01, health_timeout_s=0.05)
ALWAYS_LISTING = SETTINGS.model_copy(update={"listing_interval_s": 1e-9})


class Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self._body = body

    async def read(self) -> bytes:
        chunk, self._body = self._body[:20], self._body[20:]
        return chunk

    def close(self) -> None:
        """Nothing is open."""


class Upstreams:
    """Answers checks by `status[root_url]`: a number, None for refusing, "hangs" for silence.

    `/v1/models` are the names in `listed[root_url]`, or bytes as they are; without either it is a 404.
    """

    def __init__(self) -> None:
        self.status: dict[str, object] = {A: 200, B: 200}
        self.listed: dict[str, list[str] | bytes] = {}
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
        if url != f"{replica.base_url}/models":
            return Answer(status, b"ok")
        listed = self.listed.get(replica.root_url)
        if listed is None:
            return Answer(404, b"{}")
        if isinstance(listed, list):
            listed = json.dumps(
                {"object": "list", "data": [{"id": name, "object": "model"} for name in listed]}
            ).encode()
        return Answer(200, listed)

    async def aclose(self) -> None:
        """Nothing is open."""


class Gauge:
    def __init__(self) -> None:
        self.up: dict[tuple[str, int], bool] = {}
        self.listed: dict[tuple[str, int], bool] = {}

    def upstream_health(self, model: str, replica_index: int, is_healthy: bool) -> None:
        self.up[model, replica_index] = is_healthy

    def upstream_gone(self, model: str, replica_index: int) -> None:
        del self.up[model, replica_index], self.listed[model, replica_index]

    def upstream_lists_model(self, model: str, replica_index: int, is_listed: bool) -> None:
        self.listed[model, replica_index] = is_listed


def model(name: str, *roots: str, key: str | None = None) -> ModelSettings:
    return ModelSettings.model_validate(
        {"name": name, "replicas": [{"base_url": f"{root}/v1", "api_key": key} for root in roots]}
    )


def pool_of(
    upstreams: Upstreams, *models: ModelSettings, settings: UpstreamSettings = SETTINGS
) -> tuple[Pool, Servers, Gauge]:
    gauge = Gauge()
    servers = Servers(settings, upstreams, gauge)
    pool = servers.pool(models)
    servers.use(pool)
    return pool, servers, gauge


async def test_nothing_is_healthy_before_the_first_check() -> None:
    pool, servers, _ = pool_of(Upstreams(), model("alpha", A))
    assert not pool.is_healthy("alpha")
    assert pool.choose("alpha") is None
    await servers.check()
    assert pool.is_healthy("alpha")
    assert not pool.is_healthy("unknown")


async def test_models_on_one_server_cost_one_check() -> None:
    upstreams = Upstreams()
    _, servers, gauge = pool_of(upstreams, model("alpha", A, key="secret"), model("beta", A), model("gamma", B))
    await servers.check()
    await servers.check()
    assert upstreams.asked == {f"{A}/health": 2, f"{B}/health": 2, f"{A}/v1/models": 1, f"{B}/v1/models": 1}
    assert "Bearer secret" in upstreams.keys
    assert gauge.up == {("alpha", 0): True, ("beta", 0): True, ("gamma", 0): True}


async def test_only_2xx_is_healthy() -> None:
    upstreams = Upstreams()
    pool, servers, gauge = pool_of(upstreams, model("alpha", A, B))
    for status, is_healthy in ((200, True), (204, True), (301, False), (404, False), (503, False), (None, False)):
        upstreams.status[A] = status
        await servers.check()
        assert gauge.up["alpha", 0] is is_healthy
    upstreams.status[A] = "hangs"
    await servers.check()
    assert gauge.up == {("alpha", 0): False, ("alpha", 1): True}
    assert pool.is_healthy("alpha")


async def test_it_keeps_asking_until_it_is_closed() -> None:
    upstreams = Upstreams()
    upstreams.status[A] = None
    pool, servers, _ = pool_of(upstreams, model("alpha", A))
    await servers.start()
    assert not pool.is_healthy("alpha")
    upstreams.status[A] = 200

    async def is_up() -> bool:
        return pool.is_healthy("alpha")

    await eventually(is_up)
    await servers.aclose()
    asked = upstreams.asked.total()
    await asyncio.sleep(0.05)
    assert upstreams.asked.total() == asked


async def test_a_check_that_fails_in_an_unforeseen_way_does_not_end_the_checking() -> None:
    upstreams = Upstreams()
    _, servers, _ = pool_of(upstreams, model("alpha", A))
    await servers.start()
    upstreams.status[A] = ValueError("odd")
    asked = upstreams.asked.total()

    async def is_asked_twice_more() -> bool:
        return upstreams.asked.total() >= asked + 2

    await eventually(is_asked_twice_more)
    await servers.aclose()


async def test_a_server_marked_down_is_down_for_all_its_models_until_its_next_check() -> None:
    pool, servers, _ = pool_of(Upstreams(), model("alpha", A), model("beta", A, B))
    await servers.check()
    alpha = pool.choose("alpha")
    assert alpha is not None
    pool.mark_down(alpha)
    assert not pool.is_healthy("alpha")
    assert pool.is_healthy("beta")
    chosen = pool.choose("beta")
    assert chosen is not None
    assert chosen.root_url == B
    await servers.check()
    assert pool.is_healthy("alpha")


async def test_a_full_server_is_not_chosen_for_any_of_its_models() -> None:
    settings = SETTINGS.model_copy(update={"max_connections_per_replica": 2})
    pool, servers, _ = pool_of(Upstreams(), model("alpha", A), model("beta", A), settings=settings)
    await servers.check()
    alpha, beta = pool.choose("alpha"), pool.choose("beta")
    assert alpha is not None
    assert beta is not None
    with pool.in_use(alpha):
        with pool.in_use(beta):
            assert pool.choose("alpha") is None
            assert pool.choose("beta") is None
            assert pool.is_healthy("alpha")
        assert pool.choose("beta") == beta


def chosen_roots(pool: Pool, name: str, **headers: str) -> set[str]:
    """Whom twenty requests in a row go to."""
    roots = set()
    for _ in range(20):
        replica = pool.choose(name, headers=headers)
        assert replica is not None
        with pool.in_use(replica):
            roots.add(replica.root_url)
    return roots


async def test_a_server_without_the_adapter_is_chosen_only_while_none_that_has_it_is_up() -> None:
    upstreams = Upstreams()
    upstreams.listed = {A: ["base"], B: ["base", "adapter"]}
    pool, servers, gauge = pool_of(upstreams, model("adapter", A, B), model("base", A, B), settings=ALWAYS_LISTING)
    await servers.check()
    assert chosen_roots(pool, "adapter") == {B}
    assert gauge.listed == {("adapter", 0): False, ("adapter", 1): True, ("base", 0): True, ("base", 1): True}
    upstreams.status[B] = 503
    await servers.check()
    assert chosen_roots(pool, "adapter") == {A}
    upstreams.status[B] = 200
    upstreams.listed[A] = ["base", "adapter"]
    await servers.check()
    assert gauge.listed["adapter", 0]


async def test_a_server_that_does_not_say_what_it_holds_is_trusted() -> None:
    for listed in (None, [], b"ok", b'{"data": "none"}', b'{"data": [{"name": "alpha"}]}'):
        upstreams = Upstreams()
        upstreams.listed = {} if listed is None else {A: listed}
        pool, servers, gauge = pool_of(upstreams, model("alpha", A))
        await servers.check()
        assert gauge.listed["alpha", 0]
        assert pool.choose("alpha") is not None


async def test_a_late_listing_makes_nothing_unknown_but_a_restart_does() -> None:
    upstreams = Upstreams()
    upstreams.listed = {A: ["other"]}
    _, servers, gauge = pool_of(upstreams, model("alpha", A), settings=ALWAYS_LISTING)
    await servers.check()
    upstreams.listed = {}
    await servers.check()
    assert not gauge.listed["alpha", 0]
    for status in (503, 200):
        upstreams.status[A] = status
        await servers.check()
    assert gauge.listed["alpha", 0]


async def test_a_session_is_named_by_the_configured_header() -> None:
    affine = SETTINGS.model_copy(update={"affinity_header": "x-conversation"})
    pool, servers, _ = pool_of(Upstreams(), model("alpha", A, B), settings=affine)
    await servers.check()
    sessions = [str(number) for number in range(20)]
    homes = [chosen_roots(pool, "alpha", **{"x-conversation": session}) for session in sessions]
    assert all(len(home) == 1 for home in homes)
    assert set.union(*homes) == {A, B}
    nobody, servers, _ = pool_of(
        Upstreams(), model("alpha", A, B), settings=SETTINGS.model_copy(update={"affinity_header": None})
    )
    await servers.check()
    for _ in range(2):
        first = nobody.choose("alpha", headers={"x-session-id": "1"})
        assert first is not None
        with nobody.in_use(first):
            second = nobody.choose("alpha", headers={"x-session-id": "1"})
            assert second is not first


async def test_when_the_models_change_known_servers_stay_and_new_ones_are_asked_first() -> None:
    upstreams = Upstreams()
    pool, servers, gauge = pool_of(upstreams, model("alpha", A), model("beta", A))
    await servers.check()
    running = pool.choose("alpha")
    assert running is not None
    with pool.in_use(running):
        later = servers.pool([model("alpha", A, B), model("gamma", B)])
        await servers.prepare(later)
        assert upstreams.asked[f"{A}/health"] == 1
        assert ("gamma", 0) not in gauge.up
        servers.use(later)
        assert gauge.up == {("alpha", 0): True, ("alpha", 1): True, ("gamma", 0): True}
        other = later.choose("alpha")
        assert other is not None
        assert other.root_url == B
        assert pool.choose("beta") is not None
    assert other.server.in_flight == running.server.in_flight == 0


async def test_a_server_that_is_gone_is_not_asked_any_more_nor_reported() -> None:
    upstreams = Upstreams()
    pool, servers, gauge = pool_of(upstreams, model("alpha", A), model("beta", B))
    await servers.check()
    gone = pool.choose("beta")
    assert gone is not None
    servers.use(servers.pool([model("alpha", A)]))
    await servers.check()
    assert (upstreams.asked[f"{A}/health"], upstreams.asked[f"{B}/health"]) == (2, 1)
    pool.mark_down(gone)
    assert gauge.up == gauge.listed == {("alpha", 0): True}


async def test_a_check_that_this_process_has_no_descriptor_for_says_nothing_of_the_server() -> None:
    upstreams = Upstreams()
    pool, servers, _ = pool_of(upstreams, model("alpha", A))
    await servers.check()
    upstreams.status[A] = OutOfDescriptorsError("none left")
    await servers.check()
    assert pool.is_healthy("alpha")
