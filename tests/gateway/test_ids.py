from itertools import islice

import pytest

from gateway.ids import DRAWN_AT_ONCE, hex_ids


@pytest.mark.parametrize("digits", [16, 32])
def test_ids_have_their_length_and_none_comes_twice(digits: int) -> None:
    ids = list(islice(hex_ids(digits), 3 * DRAWN_AT_ONCE + 1))
    assert len(set(ids)) == len(ids)
    assert all(len(one) == digits and set(one) <= set("0123456789abcdef") for one in ids)


def test_two_sources_have_nothing_in_common() -> None:
    first, second = (set(islice(hex_ids(16), DRAWN_AT_ONCE)) for _ in range(2))
    assert not first & second
