import pytest

from benchmarks.learning_curve import learning_section, measure_addition, without_model
from benchmarks.served import train_served
from benchmarks.sides import Sides
from router_training.routers.learning_curve import Measurement
from tests.benchmarks.samples import MODELS, TRAIN_ROWS


def test_a_model_is_taken_out_of_the_table_whole(sides: Sides) -> None:
    rest = without_model(sides.train, "a/count")
    assert rest.models == ("a/chem", "a/chinese", "a/any")
    assert (rest.credit == sides.train.credit[:, [0, 2, 3]]).all()
    assert rest.scores.shape == rest.credit.shape


def test_a_router_is_better_with_the_model_than_without(sides: Sides) -> None:
    known = train_served(sides.train, 0)
    points = measure_addition(sides, known, "a/chinese", 0)
    routed = {
        probes: [point.value for point in points if point.probes == probes and point.metric == "routed"]
        for probes in {point.probes for point in points}
    }
    full = 5 * TRAIN_ROWS
    assert set(routed) == {0, 8, 16, 32, 64, full}
    # Only this model answers a fifth of the queries.
    assert max(routed[64]) > routed[0][0] + 0.1
    assert routed[full][0] >= max(routed[64]) - 1e-9
    assert [point.value for point in points if point.probes == full and point.metric == "row_error"] == [0.0]


@pytest.mark.parametrize("model", MODELS[:1])
def test_the_section_tells_mean_and_range_and_names_the_reference(model: str) -> None:
    points = [
        Measurement(0, 0, "routed", 0.5),
        Measurement(8, 0, "routed", 0.55),
        Measurement(8, 1, "routed", 0.65),
        Measurement(8, 0, "brier", 0.25),
        Measurement(100, 0, "routed", 0.7),
        Measurement(100, 0, "row_error", 0.0),
    ]
    page = learning_section({model: points})
    assert f"| `{model}` | 0 | 50.0 |  |  |" in page
    assert f"| `{model}` | 8 | 60.0 [55.0, 65.0] | 0.250 |  |" in page
    assert f"| `{model}` | all models trained at once, 100 rows | 70.0 |  | 0.000 |" in page
