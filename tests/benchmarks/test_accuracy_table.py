import numpy as np

from benchmarks.accuracy_table import Row, accuracy_table, reference_rows
from benchmarks.sides import Sides


def cells(page: str, label: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_means_of_a_row(tiny_sides: Sides) -> None:
    rival = Row("rival", (np.array([0.0, 0.0, 0.0, 0.5]),))
    row = Row("ours", (np.array([1.0, 0.0, 1.0, 0.5]),))
    page = accuracy_table(tiny_sides, [rival, row], rival, apart="Y", reported=("paper", [60.0, 40.0]))
    header = page.splitlines()[0]
    assert "X (n = 2) | Y (n = 2) | mean | mean without Y | per query | minus rival | minus rival, without Y" in header
    # X 0.5, Y 0.75
    ours = cells(page, "ours")
    assert ours[:5] == ["50.00", "75.00", "62.50", "50.00", "62.50"]
    assert ours[5].startswith("+50.00 [")
    assert ours[6].startswith("+50.00 [")
    assert cells(page, "rival")[5:] == ["", ""]
    assert cells(page, "paper") == ["60.00", "40.00", "50.00", "60.00", "", "", ""]


def test_seeds_are_told_as_mean_and_standard_deviation(tiny_sides: Sides) -> None:
    row = Row("ours", (np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.0])))
    page = accuracy_table(tiny_sides, [row], Row("rival", row.runs), apart=None, reported=None)
    assert cells(page, "ours")[:3] == ["50.00 +- 70.71", "0.00 +- 0.00", "25.00 +- 35.36"]


def test_the_references_bound_every_router(tiny_sides: Sides) -> None:
    single, task_best, random, oracle = (row.mean for row in reference_rows(tiny_sides))
    assert single.tolist() == [1.0, 1.0, 0.0, 0.5]
    assert task_best.tolist() == [1.0, 1.0, 1.0, 0.5]
    assert random.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert oracle.tolist() == [1.0, 1.0, 1.0, 0.5]
