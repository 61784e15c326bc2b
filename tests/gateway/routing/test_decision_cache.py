"""What is kept, what is shared while it is computed, and who is disturbed by whom. F15."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.base import RankedModel, Ranking, RoutingRequest, RoutingUnavailableError
from gateway.routing.decision_cache import WHOLE_CHARACTERS, DecisionCache, key_of
from router_core.tensors import FloatArray
from tests.gateway.routing.samples import LocalEncoder, Pool, bundle, learned, mapped, model, router
from tests.support.small_bundle import small_bundle

RANKING = Ranking(
    (RankedModel("a", 0.9), RankedModel("b", 0.2, is_pending=True)),
    novelty=0.25,
    least_gains={"a": 0.1},
    cache="miss",
    encode_s=1.0,
    score_s=2.0,
)


class Computed:
    """A computation that waits for the test, and counts how often it began and how often it was given up."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.began = asyncio.Event()
        self.calls = self.given_up = 0
        self.error: Exception | None = None

    async def __call__(self) -> Ranking:
        self.calls += 1
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.error is not None:
            raise self.error
        return RANKING


def test_what_is_kept_is_all_that_depends_on_the_ask() -> None:
    cache = DecisionCache(2)
    assert cache.get("x") is None
    cache.put("x", RANKING)
    hit = cache.get("x")
    assert hit is not None
    assert (hit.models, hit.novelty, hit.least_gains) == (RANKING.models, RANKING.novelty, RANKING.least_gains)
    # A hit took no time, or the time of one encoding would be counted again and again.
    assert (hit.cache, hit.encode_s, hit.score_s) == ("hit", 0.0, 0.0)


def test_the_one_unused_for_longest_goes_first() -> None:
    cache = DecisionCache(2)
    for key in ("x", "y"):
        cache.put(key, RANKING)
    assert cache.get("x") is not None
    cache.put("z", RANKING)
    assert [cache.get(key) is not None for key in ("x", "y", "z")] == [True, False, True]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"))), st.integers(1, 4))
def test_it_is_a_least_recently_used_cache(steps: list[tuple[bool, str]], entries: int) -> None:
    cache, order = DecisionCache(entries), list[str]()
    for puts, key in steps:
        if puts:
            cache.put(key, RANKING)
        else:
            assert (cache.get(key) is not None) == (key in order)
        if puts or key in order:
            order = [*(other for other in order if other != key), key][-entries:]


def test_a_long_ask_is_known_by_its_digest() -> None:
    short, long = "s" * WHOLE_CHARACTERS, "l" * 1_000_000
    assert key_of(short) is short
    assert len(key_of(long)) == 16
    assert key_of(long) == key_of("l" * 1_000_000) != key_of("l" * 999_999 + "m")
    assert key_of("\ud800" * 1000) != key_of("?" * 1000)


async def test_callers_of_one_ask_share_one_computation() -> None:
    cache, computed = DecisionCache(8), Computed()
    callers = [asyncio.create_task(cache.join("x", computed)) for _ in range(500)]
    await computed.began.wait()
    computed.may_end.set()
    rankings = await asyncio.gather(*callers)
    assert computed.calls == 1
    assert [ranking.cache for ranking in rankings] == ["miss"] + ["joined"] * 499
    assert {ranking.models for ranking in rankings} == {RANKING.models}
    assert sum(ranking.encode_s for ranking in rankings) == RANKING.encode_s
    kept = cache.get("x")
    assert kept is not None
    assert kept.cache == "hit"


async def test_a_first_caller_that_leaves_disturbs_no_other() -> None:
    cache, computed = DecisionCache(8), Computed()
    first = asyncio.create_task(cache.join("x", computed))
    await computed.began.wait()
    second = asyncio.create_task(cache.join("x", computed))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    computed.may_end.set()
    assert (await second).models == RANKING.models
    assert (computed.calls, computed.given_up) == (1, 0)


async def test_when_all_have_left_it_is_given_up_and_the_next_caller_begins_anew() -> None:
    cache, computed, again = DecisionCache(8), Computed(), Computed()
    callers = [asyncio.create_task(cache.join("x", computed)) for _ in range(3)]
    await computed.began.wait()
    for caller in callers:
        caller.cancel()
    # In the very turn in which the last one leaves: it must not wait for what is being given up.
    newcomer = asyncio.create_task(cache.join("x", again))
    assert all(
        isinstance(left, asyncio.CancelledError) for left in await asyncio.gather(*callers, return_exceptions=True)
    )
    again.may_end.set()
    assert (await newcomer).cache == "miss"
    assert (computed.calls, computed.given_up, again.calls) == (1, 1, 1)


async def test_what_fails_fails_for_all_and_is_not_kept() -> None:
    cache, computed = DecisionCache(8), Computed()
    computed.error = RoutingUnavailableError("the encoder is down")
    computed.may_end.set()
    failed = await asyncio.gather(*(cache.join("x", computed) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in failed] == ["the encoder is down"] * 3
    computed.error = None
    assert (await cache.join("x", computed)).cache == "miss"
    assert computed.calls == 2


async def test_without_entries_nothing_is_kept_or_shared() -> None:
    cache, computed = DecisionCache(0), Computed()
    computed.may_end.set()
    await asyncio.gather(*(cache.join("x", computed) for _ in range(3)))
    cache.put("x", RANKING)
    assert computed.calls == 3
    assert cache.get("x") is None


# In the policy and the router


async def test_a_hit_is_the_ranking_of_a_miss(tmp_path: Path) -> None:
    policy = learned(mapped("a", "b"), small_bundle(tmp_path / "bundle", max_bytes=64).path, cache_entries=10)
    await policy.start()
    for ask in ("2 + 2 = ?", "什么是爱", "words " * 1000):
        miss, hit = [await policy.rank(RoutingRequest(ask=ask, key_id=key)) for key in ("k1", "k1")]
        other = await policy.rank(RoutingRequest(ask=ask, key_id="k2"))
        # Else a hit would tell one tenant what another asked.
        assert other.cache == "miss"
        assert (miss.cache, hit.cache) == ("miss", "hit")
        assert (hit.models, hit.novelty, hit.least_gains) == (miss.models, miss.novelty, miss.least_gains)
        assert hit.encode_s == hit.score_s == 0
    await policy.aclose()


async def test_without_entries_a_ranking_says_nothing_of_a_cache(tmp_path: Path) -> None:
    policy = learned(mapped("a", "b"), small_bundle(tmp_path / "bundle").path)
    await policy.start()
    assert [(await policy.rank(RoutingRequest(ask="hello"))).cache for _ in range(2)] == [None, None]
    await policy.aclose()


async def test_masks_and_health_apply_to_a_hit(tmp_path: Path) -> None:
    models = [*mapped("a", "b"), model("pinned")]
    pool = Pool()
    made = router(models, learned(models, small_bundle(tmp_path / "bundle").path, cache_entries=10), pool=pool)
    await made.start()
    free = RoutingRequest(ask="2 + 2 = ?")
    bound = RoutingRequest(ask="2 + 2 = ?", allowed_models=frozenset({"b"}))
    decisions = [await made.decide(request) for request in (free, free, bound)]
    pool.down.add("a")
    decisions.append(await made.decide(free))
    await made.aclose()
    told = [(decision.choice.model, decision.reason, decision.cache) for decision in decisions]
    assert told == [("a", "routed", "miss"), ("a", "routed", "hit"), ("b", "routed", "hit"), ("b", "fallback", "hit")]


async def test_one_ask_of_many_requests_is_encoded_once(tmp_path: Path) -> None:
    asked: list[str] = []

    class Slow(LocalEncoder):
        async def encode(self, text: str) -> tuple[FloatArray, float]:
            asked.append(text)
            await asyncio.sleep(0)
            return await super().encode(text)

    path = bundle(tmp_path / "bundle").path
    policy = learned(mapped("a", "b", "c"), path, encoder=Slow(), cache_entries=10)
    await policy.start()
    rankings = await asyncio.gather(*(policy.rank(RoutingRequest(ask="0,1,0")) for _ in range(50)))
    await policy.aclose()
    assert asked == ["0,1,0"]
    assert {ranking.models[0].model for ranking in rankings} == {"b"}
