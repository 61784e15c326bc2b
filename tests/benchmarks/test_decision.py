import os

import numpy as np
import pytest
import torch

from benchmarks.decision import Effort, Row, render, timed
from benchmarks.timing import Decider, Times, one_core, time_decisions
from router_core.tensors import FloatArray


def decider(name: str = "d", seen: list[str] | None = None) -> Decider:
    def encode(text: str) -> tuple[FloatArray, FloatArray]:
        if seen is not None:
            seen.append(text)
        return np.full((1, 2), len(text), dtype=np.float32), np.zeros(1, dtype=np.float32)

    return Decider(name, encode, lambda vectors, lost: (-vectors).argsort(axis=1), f"what {name} is")


def row(name: str, milliseconds: float, slowest: float | None = None) -> Row:
    """A thousand timings, a tenth of each being the scoring; if given, the last fifty take `slowest`."""
    seconds = np.full(1000, milliseconds / 1e3)
    seconds[950:] = (slowest or milliseconds) / 1e3
    return Row(decider(name), "16 to 256", Times(seconds * 0.9, seconds * 0.1))


def test_every_question_is_decided_in_every_round() -> None:
    seen: list[str] = []
    times = time_decisions(decider(seen=seen), ["one", "two", "three"], rounds=2, warm_up=2)
    assert seen == ["one", "two", *["one", "two", "three"] * 2]
    assert times.encode.shape == times.rank.shape == (6,)
    assert (times.decision > times.encode).all()


def test_only_queries_of_the_length_are_timed() -> None:
    seen: list[str] = []
    questions = [(count, f"of {count} tokens") for count in range(10, 30)]
    measured = timed(decider(seen=seen), questions, (16, 24), Effort(queries=100, rounds=3))
    assert set(seen) == {f"of {count} tokens" for count in range(16, 25)}
    assert (measured.tokens, len(measured.times.encode)) == ("16 to 24", 27)
    assert len(timed(decider(), questions, (16, 24), Effort(queries=4, rounds=3)).times.encode) == 12


def test_one_core_is_given_back() -> None:
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
        assert torch.get_num_threads() == 1
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)


@pytest.mark.parametrize(
    ("typical", "slowest", "verdict"), [(0.05, 0.2, "meets"), (0.05, 0.4, "misses"), (0.2, 0.2, "misses")]
)
def test_the_section_says_whether_the_target_is_met(typical: float, slowest: float, verdict: str) -> None:
    section = render([row("default", typical, slowest), row("minilm", 10), row("published", 2000)], 0.25)
    assert f"The default {verdict} its target" in section
    assert "Load average before it began: 0.25." in section


def test_the_section_shows_medians_and_percentiles_in_milliseconds() -> None:
    section = render([row("default", 0.08, 0.2), row("minilm", 10), row("published", 2000)], 0)
    assert "| default | 16 to 256 | 1000 | 0.072 | 0.18 | 0.008 | 0.02 | **0.08** | **0.2** |" in section
    assert "| published | 16 to 256 | 1000 | 1,800 | 1,800 | 200 | 200 | **2,000** | **2,000** |" in section
    assert "with minilm takes 125 times as long, and one with published 25,000 times." in section
    assert "- minilm: what minilm is." in section
