import pytest

from router_training.evaluate.page.section import interval, percent, points, short_names


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["org/a", "org/b"], ["a", "b"]),
        (["one/a", "two/a"], ["one/a", "two/a"]),  # only the organisation tells them apart
        (["a/", "b"], ["a/", "b"]),
        (["abcdefgh", "x"], ["abcde…", "x"]),
        (["abcdefgh", "abcdefgi"], ["abcdefgh", "abcdefgi"]),  # cutting would make them one
    ],
)
def test_names_get_shorter_only_while_they_stay_apart(names: list[str], short: list[str]) -> None:
    assert short_names(names, longest=6) == short


def test_figures_in_words() -> None:
    assert percent(0.12345) == "12.35"
    assert points(0.00123) == "+0.12"
    assert points(-0.00001) == "+0.00"
    assert interval((-0.01, 0.02)) == "[-1.00, +2.00]"
    assert interval((0.5, 0.75), percent) == "[50.00, 75.00]"
