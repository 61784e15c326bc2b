import pytest

from benchmarks.gateway_figures import Figures
from benchmarks.gateway_targets import Judgement, Run, judge, met

GOOD = {
    "ours": Figures(
        "ours",
        cpu_us={64: 120.0},
        cpu_us_per_chunk=45.0,
        added_first_byte_p50_ms=0.2,
        kib_per_stream=(15.0, 15.5, 15.2),
        start_s=0.9,
    ),
    "ours-auto": Figures("ours-auto", cpu_us={64: 250.0}),
    "ours-auto-cached": Figures("ours-auto-cached", cpu_us={64: 150.0}),
    "ours-redis": Figures("ours-redis", cpu_us={64: 200.0}),
    "ours-2-workers": Figures("ours-2-workers", cpu_us={64: 220.0}, least_share=0.48),
    "nginx": Figures("nginx", cpu_us={64: 25.0}, cpu_us_per_chunk=20.0),
    "vllm-router": Figures("vllm-router", cpu_us={64: 130.0}, cpu_us_per_chunk=39.0),
    "sglang-router": Figures("sglang-router", cpu_us={64: 180.0}, cpu_us_per_chunk=38.0),
    "fastapi-httpx": Figures("fastapi-httpx", cpu_us={64: 2900.0}),
    "litellm": Figures("litellm", cpu_us={64: 9700.0}),
    "routellm": Figures("routellm", cpu_us={64: 4400.0}),
}


def named(judgements: list[Judgement], words: str) -> Judgement:
    found = [judgement for judgement in judgements if words in judgement.target]
    assert len(found) == 1
    return found[0]


def test_all_are_met_where_every_figure_is_good() -> None:
    judgements = judge(Run(GOOD, {"ours": 140.0}))
    assert [judgement.target for judgement in judgements if judgement.verdict != "yes"] == []
    assert met(judgements) == f"{len(judgements)} of {len(judgements)} measured targets are met, 0 were not measured."


def test_nothing_is_met_where_nothing_was_measured() -> None:
    judgements = judge(Run({}, {}))
    assert {judgement.verdict for judgement in judgements} == {"not measured"}
    assert met(judgements) == f"0 of 0 measured targets are met, {len(judgements)} were not measured."


@pytest.mark.parametrize(
    ("name", "worse", "target", "measured"),
    [
        ("ours", {"cpu_us": {64: 141.0}}, "explicit model: CPU per request <= 140 us", "141 us"),
        ("ours", {"cpu_us": {64: 131.0}}, "explicit model over vllm-router", "1.01 times"),
        ("nginx", {"cpu_us": {64: 20.0}}, "explicit model over nginx <= 5 times", "6.00 times"),
        ("fastapi-httpx", {"cpu_us": {64: 900.0}}, "FastAPI + httpx: >= 8 times less", "7.5 times"),
        ("litellm", {"cpu_us": {64: 5000.0}}, "LiteLLM: >= 50 times less", "41.7 times"),
        ("routellm", {"cpu_us": {64: 3000.0}}, "RouteLLM: >= 30 times less", "25.0 times"),
        ("ours-auto", {"cpu_us": {64: 300.0}}, "encoder `features`", "300 us"),
        ("ours-auto-cached", {"cpu_us": {64: 171.0}}, "decision cached", "171 us"),
        ("ours", {"cpu_us_per_chunk": 55.0}, "SSE over nginx", "2.75 times"),
        ("sglang-router", {"cpu_us_per_chunk": 30.0}, "SSE over the cheaper Rust router", "1.50 times"),
        ("ours", {"added_first_byte_p50_ms": 0.5}, "added first byte", "0.5 ms"),
        ("ours", {"kib_per_stream": (15.0, 21.0, 15.0)}, "1,000 idle streams, the worst repeat", "21 KiB each"),
        ("ours", {"kib_per_stream": (10.0, 11.0, 12.0)}, "last repeat over the first", "1.20 times"),
        ("ours-2-workers", {"cpu_us": {64: 240.0}}, "two workers over one", "1.20 times"),
        ("ours-2-workers", {"least_share": 0.39}, "share of the one that serves less >= 40%", "39%"),
        ("ours", {"start_s": 1.6}, "start to first answer", "1.6 s"),
    ],
)
def test_a_figure_that_is_too_bad_is_a_no(name: str, worse: dict[str, object], target: str, measured: str) -> None:
    figures = {**GOOD, name: Figures(**{**vars(GOOD[name]), **worse})}
    judgement = named(judge(Run(figures, {"ours": 140.0})), target)
    assert (judgement.verdict, judgement.measured) == ("no", measured)


def test_a_large_install_is_a_no() -> None:
    judgement = named(judge(Run(GOOD, {"ours": 151.0})), "base install")
    assert (judgement.verdict, judgement.measured) == ("no", "151 MB")
