import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_training.errors import JobConfigError
from router_training.evaluate.costs import read_costs


def test_words_and_files_and_the_last_one_wins(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("org/a: 1\nb: 2.5e-3\nstranger: 7\n")
    (tmp_path / "c.json").write_text(json.dumps({"b": 3}))
    assert read_costs([str(tmp_path / "c.yaml")], ["b", "org/a"]).tolist() == [0.0025, 1.0]
    files = [str(tmp_path / "c.yaml"), str(tmp_path / "c.json"), "org/a=0.5"]
    assert read_costs(files, ["org/a", "b"]).tolist() == [0.5, 3.0]


def test_a_name_may_hold_an_equals_sign() -> None:
    assert read_costs(["a=b=2", "c=1"], ["a=b", "c"]).tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=1"], "no cost for b; give b=COST"),
        (["a"], "must be MODEL=COST, or a file"),
        (["=1"], "must be MODEL=COST"),
        (["a=one", "b=1"], "a: 'one' is not a cost"),
        (["a=-1", "b=1"], "at least 0"),
        (["a=nan", "b=1"], "at least 0"),
        (["a=inf", "b=1"], "finite"),
        (["a=2", "b=2"], "every model costs 2"),
        (["none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    with pytest.raises(JobConfigError, match="--costs") as caught:
        read_costs(words, ["a", "b"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- 1", "a: [1", "a: true\nb: 1", "a: {b: 1}", "3", "", "a: null"])
def test_a_file_of_another_shape_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(JobConfigError, match=r"c\.yaml"):
        read_costs([str(tmp_path / "c.yaml")], ["a", "b"])


@given(st.text(), st.text())
def test_any_word_gives_a_cost_or_one_clear_line(model: str, text: str) -> None:
    try:
        costs = read_costs([f"{model}={text}", "dear=1e9"], [model, "dear"])
    except JobConfigError:
        return
    assert all(math.isfinite(cost) and cost >= 0 for cost in costs)
