import numpy as np

from router_training.evaluate.page.sections.query_map import principal_components


def test_the_components_are_those_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 4)) * [1.0, 5.0, 0.1, 2.0] + 3.0
    places = principal_components(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.T))
    assert places.shape == (50, 2)
    np.testing.assert_allclose(places.var(axis=0, ddof=1), values[::-1][:2])
    expected = (vectors - vectors.mean(axis=0)) @ directions[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-8)


def test_the_sign_does_not_depend_on_the_solver() -> None:
    vectors = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 6.0]])
    np.testing.assert_allclose(principal_components(vectors)[:, 0], [-2.0, -1.0, 3.0])


def test_one_query_or_one_dimension_still_has_a_place() -> None:
    assert principal_components(np.ones((1, 5))).tolist() == [[0.0, 0.0]]
    assert principal_components(np.array([[1.0], [3.0]])).shape == (2, 2)
