import numpy as np
import pytest

from benchmarks.real_vllm import (
    BENCH_PROMPTS,
    Call,
    CallError,
    Pair,
    added_first_token_ms,
    ask,
    ask_pairs,
    estimate,
    rate_ratio,
    render,
)
from tests.support.mock_vllm import MockVllm


def pairs(added_ms: float, ratio: float, count: int = 100) -> list[Pair]:
    """Pairs whose calls vary together, the gateway's later and slower by so much."""
    firsts = np.random.default_rng(0).uniform(0.05, 0.2, count)
    return [Pair(Call(first, 20.0), Call(first + added_ms / 1e3, 20.0 * ratio)) for first in firsts]


def test_what_is_added_is_seen_through_the_variation_of_pairs() -> None:
    added, ratio = added_first_token_ms(pairs(2.0, 0.98)), rate_ratio(pairs(2.0, 0.98))
    assert (added.value, added.low, added.high) == pytest.approx((2, 2, 2))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.98, 0.98, 0.98))
    assert added.show(1) == "2.0 [2.0, 2.0]"


def test_an_interval_narrows_as_values_come_in() -> None:
    values = np.random.default_rng(1).normal(5, 1, 400)
    few, many = (estimate(part, lambda drawn: np.mean(drawn, axis=-1)) for part in (values[:25], values))
    assert many.low < 5 < many.high
    assert many.high - many.low < few.high - few.low < 1.2


@pytest.mark.parametrize(
    ("added_ms", "ratio", "completed", "verdicts"),
    [
        (4.9, 0.96, BENCH_PROMPTS, ["yes", "yes", "yes"]),
        (5.1, 0.96, BENCH_PROMPTS, ["no", "yes", "yes"]),
        (4.9, 0.94, BENCH_PROMPTS, ["yes", "no", "yes"]),
        (4.9, 0.96, BENCH_PROMPTS - 1, ["yes", "yes", "no"]),
    ],
)
def test_the_section_says_which_targets_are_met(
    added_ms: float, ratio: float, completed: int, verdicts: list[str]
) -> None:
    section = render(pairs(added_ms, ratio), completed, "`a command`.")
    assert [line.split("|")[-2].strip() for line in section.splitlines()[-3:]] == verdicts
    assert f"{completed} of {BENCH_PROMPTS} requests" in section


def test_pairs_are_asked_of_both_in_turns(mock_vllm: MockVllm) -> None:
    found = ask_pairs(mock_vllm.base_url, mock_vllm.base_url, 4, tokens=3)
    assert len(found) == 4
    assert all(
        call.first_token_s > 0 and call.tokens_per_s > 0 for pair in found for call in (pair.direct, pair.through)
    )


def test_an_answer_that_is_none_says_by_whom(mock_vllm: MockVllm) -> None:
    mock_vllm.behave(status=503)
    with pytest.raises(CallError, match=f"{mock_vllm.base_url} answers 503"):
        ask(mock_vllm.base_url, 0, 3)


def test_nobody_listens() -> None:
    with pytest.raises(CallError, match=r"http://127\.0\.0\.1:1 does not answer: .*refused"):
        ask("http://127.0.0.1:1", 0, 3)
