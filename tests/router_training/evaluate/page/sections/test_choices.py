import numpy as np

from router_training.evaluate.page.sections.choices import confusion
from router_training.evaluate.routed_accuracy import RoutedFile


def test_shares_of_chosen_and_best_by_hand() -> None:
    credit = np.array(
        [
            [1.0, 0.0, 0.0],  # chosen 0: right
            [0.0, 0.5, 0.5],  # chosen 0: half a query each to 1 and 2
            [1.0, 1.0, 0.0],  # chosen 1: among the best, so right
            [1.0, 1.0, 1.0],  # nothing to choose
            [0.0, 0.0, 0.0],  # nothing to choose
            [0.0, 0.2, 0.3],  # chosen 1, best 2
        ]
    )
    shares, count = confusion(RoutedFile("t", credit, np.array([0, 0, 1, 2, 2, 1])))
    assert count == 4
    np.testing.assert_allclose(shares * 4, [[1.0, 0.5, 0.5], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def test_models_that_never_differ_leave_nothing() -> None:
    shares, count = confusion(RoutedFile("t", np.ones((3, 2)), np.array([0, 1, 0])))
    assert count == 0
    assert (shares == 0).all()
