from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router_training.routers.learning_curve import draw_probes

TASKS = ("math",) * 60 + ("facts",) * 30 + ("code",) * 10


def test_probes_are_drawn_in_the_proportions_of_their_tasks() -> None:
    drawn = draw_probes(TASKS, 20, seed=3)
    assert Counter(TASKS[row] for row in drawn) == {"math": 12, "facts": 6, "code": 2}


def test_a_seed_draws_the_fewer_from_among_the_more_and_another_seed_draws_others() -> None:
    few, many = draw_probes(TASKS, 8, seed=1), draw_probes(TASKS, 64, seed=1)
    assert set(few.tolist()) < set(many.tolist())
    assert not np.array_equal(few, draw_probes(TASKS, 8, seed=2))
    assert np.array_equal(few, draw_probes(TASKS, 8, seed=1))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.data())
def test_any_count_of_different_rows_can_be_drawn(tasks: list[str], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(tasks)))
    drawn = draw_probes(tasks, count, seed=0).tolist()
    assert len(set(drawn)) == len(drawn) == count
    assert set(drawn) <= set(range(len(tasks)))
