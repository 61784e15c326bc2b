import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from benchmarks.decision import Effort, Row, between, cut_to, render, timed
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


def test_at_most_so_many_queries_are_timed() -> None:
    seen: list[str] = []
    questions = [f"number {count}" for count in range(9)]
    measured = timed(decider(seen=seen), "16", questions, Effort(queries=100, rounds=3))
    assert set(seen) == set(questions)
    assert (measured.tokens, len(measured.times.encode)) == ("16", 27)
    assert len(timed(decider(), "16", questions, Effort(queries=4, rounds=3)).times.encode) == 12


def tokenizer() -> Tokenizer:
    """A token a word, and one before and after the text."""
    made = Tokenizer(WordLevel({"[B]": 0, "[E]": 1, "[U]": 2}, unk_token="[U]"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(single="[B] $A [E]", special_tokens=[("[B]", 0), ("[E]", 1)])
    return made


def test_queries_are_told_apart_by_their_tokens() -> None:
    questions = {count: " ".join(["word"] * (count - 2)) for count in (15, 16, 256, 257)}
    assert between(tokenizer(), list(questions.values())) == [questions[16], questions[256]]


def test_longer_queries_are_cut_to_the_length() -> None:
    assert cut_to(tokenizer(), ["a b", "a b c", "a b c d e"], 5) == ["a b c", "a b c"]


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


def test_the_section_says_at_which_length_the_encoder_meets_its_target() -> None:
    timings = [replace(row("minilm", ms), tokens=tokens) for tokens, ms in (("16", 4.9), ("64", 10.1), ("256", 39))]
    section = render([row("default", 0.05), *timings, row("minilm", 12), row("published", 2000)], 0)
    assert "with minilm meets 5 ms at 16 tokens, misses 10 ms at 64 tokens, meets 40 ms at 256 tokens." in section


def test_the_section_shows_medians_and_percentiles_in_milliseconds() -> None:
    section = render([row("default", 0.08, 0.2), row("minilm", 10), row("published", 2000)], 0)
    assert "| default | 16 to 256 | 1000 | 0.072 | 0.18 | 0.008 | 0.02 | **0.08** | **0.2** |" in section
    assert "| published | 16 to 256 | 1000 | 1,800 | 1,800 | 200 | 200 | **2,000** | **2,000** |" in section
    assert "with minilm takes 125 times as long, and one with published 25,000 times." in section
    assert "- minilm: what minilm is." in section
