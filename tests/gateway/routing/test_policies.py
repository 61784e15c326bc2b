import random
import subprocess
import sys
from collections import Counter
from typing import get_args

import pytest

from gateway.routing.base import Ranking, RoutingRequest
from gateway.routing.fixed import Fixed
from gateway.routing.random import Random
from gateway.routing.registry import POLICIES, build_policy
from gateway.routing.weighted import Weighted
from gateway.settings import PolicyName
from tests.gateway.routing.samples import settings

REQUEST = RoutingRequest(ask="hello")
MODELS = [{"name": "a"}, {"name": "b"}, {"name": "c"}]


def order(ranking: Ranking) -> list[str]:
    return [entry.model for entry in ranking.models]


async def test_fixed_ranks_its_model() -> None:
    policy = Fixed("b")
    assert order(await policy.rank(REQUEST)) == ["b"]
    assert policy.is_ready
    assert policy.bundle_digest is None


async def test_random_ranks_every_model_and_each_is_first_about_as_often() -> None:
    policy = Random(["a", "b", "c"], random.Random(7))
    firsts: Counter[str] = Counter()
    for _ in range(3000):
        ranking = order(await policy.rank(REQUEST))
        assert sorted(ranking) == ["a", "b", "c"]
        firsts[ranking[0]] += 1
    assert all(900 < firsts[name] < 1100 for name in "abc")


async def test_weighted_draws_without_replacement_by_the_shares() -> None:
    policy = Weighted({"a": 6.0, "b": 3.0, "c": 1.0}, random.Random(7))
    rankings = [order(await policy.rank(REQUEST)) for _ in range(4000)]
    assert all(sorted(ranking) == ["a", "b", "c"] for ranking in rankings)
    firsts = Counter(ranking[0] for ranking in rankings)
    assert firsts["a"] / 4000 == pytest.approx(0.6, abs=0.03)
    assert firsts["b"] / 4000 == pytest.approx(0.3, abs=0.03)
    # Where a comes first, the second place is drawn between b and c with 3 to 1.
    seconds = [ranking[1] for ranking in rankings if ranking[0] == "a"]
    assert seconds.count("b") / len(seconds) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(("policy", "more"), [("random", {}), ("weighted", {"weights": {"a": 1, "b": 2, "c": 3}})])
async def test_a_seed_repeats_the_draws(policy: str, more: dict[str, object]) -> None:
    async def orders(seed: int) -> list[list[str]]:
        built = build_policy(settings(MODELS, {"policy": policy, "seed": seed} | more))
        return [order(await built.rank(REQUEST)) for _ in range(20)]

    assert await orders(1) == await orders(1)
    assert await orders(1) != await orders(2)


def test_every_policy_of_the_settings_is_registered() -> None:
    assert set(POLICIES) == set(get_args(PolicyName))


@pytest.mark.parametrize(
    ("router", "models"),
    [
        ({"policy": "fixed", "fixed_model": "b"}, {"b"}),
        ({"policy": "random"}, {"a", "b", "c"}),
        ({"policy": "weighted", "weights": {"b": 1, "c": 2}}, {"b", "c"}),
        ({"policy": "learned", "bundle": "somewhere"}, {"b"}),
    ],
)
def test_the_registry_builds_each_policy(router: dict[str, object], models: set[str]) -> None:
    built = build_policy(settings([{"name": "a"}, {"name": "b", "router_name": "llm-b"}, {"name": "c"}], router))
    assert built.models == models


def test_listing_policies_and_building_a_router_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "import gateway.routing.router, gateway.routing.registry, gateway.routing.encoder\n"
        "policies = list(gateway.routing.registry.POLICIES)\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_listing_policies_imports_no_policy() -> None:
    program = (
        "import sys\n"
        "import gateway.routing.router\n"
        "from gateway.routing.registry import POLICIES\n"
        "loaded = set(POLICIES.values()) & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
