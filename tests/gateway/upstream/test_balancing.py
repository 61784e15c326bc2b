"""Who is chosen among the replicas of a model, given their load, health and listings."""

import itertools
import random
from collections import Counter
from collections.abc import Collection

import pytest

from gateway.upstream.balancing import Balancing
from gateway.upstream.base import Replica, Server


def replicas(count: int) -> list[Replica]:
    """Replicas of `alpha`, each on a server of its own, all up."""
    return [
        Replica("alpha", index, f"http://10.0.0.{index}:8000/v1", None, "alpha", Server(is_healthy=True))
        for index in range(count)
    ]


def balancing_of(those: list[Replica], *, most_in_flight: int = 100, load_factor: float | None = None) -> Balancing:
    draw = random.Random(1).random
    return Balancing(those, most_in_flight=most_in_flight, load_factor=load_factor, draw=draw)


def chosen(balancing: Balancing, passed_over: Collection[Replica] = (), session: str | None = None) -> Replica:
    replica = balancing.choose(passed_over, session)
    assert replica is not None
    return replica


def spread(balancing: Balancing, requests: int) -> Counter[int]:
    """How many of so many requests, none of which ends, each replica gets."""
    turn = itertools.count(1)
    counts: Counter[int] = Counter()
    for _ in range(requests):
        replica = chosen(balancing)
        replica.server.in_flight += 1
        replica.server.last_used = next(turn)
        counts[replica.index] += 1
    return counts


def homes(balancing: Balancing, sessions: int = 1000) -> dict[str, int]:
    return {str(number): chosen(balancing, session=str(number)).index for number in range(sessions)}


def test_of_two_replicas_the_less_busy_one_is_chosen() -> None:
    a, b = replicas(2)
    balancing = balancing_of([a, b])
    a.server.in_flight = 1
    assert {chosen(balancing) for _ in range(20)} == {b}
    b.server.in_flight = 2
    assert {chosen(balancing) for _ in range(20)} == {a}


def test_equally_busy_replicas_take_turns() -> None:
    a, b = replicas(2)
    balancing = balancing_of([a, b])
    turns = []
    for turn in range(1, 7):
        replica = chosen(balancing)
        replica.server.last_used = turn
        turns.append(replica)
    assert turns in ([a, b] * 3, [b, a] * 3)


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_requests_spread_evenly(count: int) -> None:
    counts = spread(balancing_of(replicas(count)), 100 * count - 1)
    assert set(counts) == set(range(count))
    # Two draws keep the fullest within a few requests of the mean; one draw would leave it tens above.
    assert max(counts.values()) <= 105
    assert min(counts.values()) >= 90


def test_a_busy_replica_of_many_is_never_the_choice_of_two() -> None:
    those = replicas(5)
    those[3].server.in_flight = 50
    balancing = balancing_of(those)
    assert {chosen(balancing).index for _ in range(200)} == {0, 1, 2, 4}


@pytest.mark.parametrize("session", [None, "s"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_down_full_and_passed_over_replicas_are_never_chosen(count: int, session: str | None) -> None:
    those = replicas(count)
    balancing = balancing_of(those, most_in_flight=7)
    for replica in those[:-1]:
        replica.server.is_healthy = False
    assert {chosen(balancing, session=session) for _ in range(20)} == {those[-1]}
    for replica in those[:-1]:
        replica.server.is_healthy, replica.server.in_flight = True, 7
    assert {chosen(balancing, session=session) for _ in range(20)} == {those[-1]}
    assert balancing.is_healthy()
    for replica in those[:-1]:
        replica.server.in_flight = 0
    assert balancing.choose(those, session) is None
    assert {chosen(balancing, those[:-1], session) for _ in range(20)} == {those[-1]}
    for replica in those:
        replica.server.is_healthy = False
    assert balancing.choose((), session) is None
    assert not balancing.is_healthy()


@pytest.mark.parametrize("session", [None, "s", "t", "u"])
def test_a_full_server_that_lists_the_model_still_keeps_the_others_out(session: str | None) -> None:
    those = replicas(3)
    for replica in those:
        replica.server.listed = frozenset({"beta"})
    those[1].server.listed = frozenset({"alpha", "beta"})
    balancing = balancing_of(those, most_in_flight=1)
    assert {chosen(balancing, session=session) for _ in range(20)} == {those[1]}
    those[1].server.in_flight = 1
    assert balancing.choose((), session) is None
    those[1].server.is_healthy = False
    assert balancing.choose((), session) in (those[0], those[2])


def test_sessions_spread_and_stay() -> None:
    those = replicas(8)
    before = homes(balancing_of(those))
    assert before == homes(balancing_of(those))
    counts = Counter(before.values())
    assert min(counts.values()) > 80
    assert max(counts.values()) < 180


def test_when_a_replica_goes_only_its_sessions_move() -> None:
    those = replicas(8)
    balancing = balancing_of(those)
    before = homes(balancing)
    those[2].server.is_healthy = False
    after = homes(balancing)
    moved = {session for session, home in before.items() if after[session] != home}
    assert moved == {session for session, home in before.items() if home == 2}
    assert len({after[session] for session in moved}) == 7
    those[2].server.is_healthy = True
    assert homes(balancing) == before


def test_a_session_does_not_care_for_load_unless_it_is_bounded() -> None:
    those = replicas(4)
    home = chosen(balancing_of(those), session="s")
    home.server.in_flight = 50
    assert chosen(balancing_of(those), session="s") is home
    bounded = balancing_of(those, load_factor=2)
    elsewhere = chosen(bounded, session="s")
    assert elsewhere is not home
    assert chosen(bounded, session="s") is elsewhere
    for replica in those:
        replica.server.in_flight = 50
    assert chosen(bounded, session="s") is home


def test_a_session_finds_its_replica_in_every_process() -> None:
    """Python's own hashes differ from process to process; these are fixed."""
    those = replicas(16)
    assert [chosen(balancing_of(those), session=f"session-{n}").index for n in range(6)] == [3, 13, 4, 10, 8, 11]
