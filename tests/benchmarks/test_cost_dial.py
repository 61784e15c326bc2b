import numpy as np

from benchmarks.cost_dial import cost_dial

MODELS = ("cheap", "dear")


def credit_and_probability() -> tuple[np.ndarray, np.ndarray]:
    """The cheap model is right on the first half, the dear one on all."""
    credit = np.array([[1.0, 1.0]] * 40 + [[0.0, 1.0]] * 40)
    return credit, np.where(credit > 0, 0.9, 0.1)


def test_a_router_that_knows_when_the_cheap_model_will_do_beats_the_random_mix() -> None:
    credit, probability = credit_and_probability()
    page = cost_dial(MODELS, probability, credit, {"cheap": 1.0, "dear": 3.0}, "Example prices:")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line]
    assert lines[0] == ["mean price per query, at most", "routed", "random mix", "oracle"]
    # Budgets 1.0, 1.4, 1.8, ...: 1.8 buys 40 of 100 answers of the dear model, and its half is 50 of 100.
    assert lines[2] == ["1.00", "50.0", "50.0", "50.0"]
    assert lines[4] == ["1.80", "90.0", "70.0", "90.0"]
    assert lines[7] == ["3.00", "100.0", "100.0", "100.0"]
    assert "Example prices: `cheap` 1, `dear` 3." in " ".join(page.split())
    assert "the router beats the random mix" in " ".join(page.split())


def test_a_router_that_knows_nothing_is_not_said_to_win() -> None:
    credit, _ = credit_and_probability()
    page = cost_dial(MODELS, np.tile([0.5, 0.6], (len(credit), 1)), credit, {"dear": 3.0}, "Example prices:")
    assert "the router beats" not in " ".join(page.split())
