from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_training.errors import DataError
from router_training.evaluate.page.learning_file import read_learning_curves
from router_training.evaluate.page.sections.learning import curves_of

GOOD = '{"probes": 8, "seed": 1, "metric": "routed", "value": 0.5}'


def test_curves_are_means_over_seeds_with_their_range(tmp_path: Path) -> None:
    lines = [
        GOOD,
        "",
        '{"probes": 0, "seed": 1, "metric": "routed", "value": 0.25}',
        '{"probes": 8, "seed": 2, "metric": "routed", "value": 1.0}',
        '{"probes": 8, "seed": 2, "metric": "ece", "value": 0.125}',
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines) + "\n")
    assert curves_of(read_learning_curves(tmp_path / "c.jsonl")) == {
        "routed": [(0, 0.25, 0.25, 0.25, 1), (8, 0.75, 0.5, 1.0, 2)],
        "ece": [(8, 0.125, 0.125, 0.125, 1)],
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "the whole line"),
        (GOOD.replace("8", "-1"), "probes"),
        (GOOD.replace("8", "1.5"), "probes"),
        (GOOD.replace("0.5", "NaN"), "value"),
        (GOOD.replace('"routed"', '""'), "metric"),
        (GOOD.replace('"seed": 1', '"sead": 1'), "se"),
        (GOOD.replace("}", ', "more": 1}'), "more"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(DataError, match=rf"c\.jsonl: line 2: .*{message}"):
        read_learning_curves(tmp_path / "c.jsonl")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no measurement"):
        read_learning_curves(tmp_path / "c.jsonl")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.one_of(st.text(), st.binary()))
def test_any_content_is_read_or_refused_in_one_line(content: str | bytes, tmp_path: Path) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    (tmp_path / "c.jsonl").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_learning_curves(tmp_path / "c.jsonl")
    assert str(tmp_path) in str(caught.value)
