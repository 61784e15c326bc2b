"""The two headers of the cost-quality dial: which values are taken, and whose word counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.base import ANONYMOUS, Principal
from gateway.errors import RequestError
from gateway.http.dials import read_dial
from gateway.routing.base import Dial

QUALITY, MAX_COST = "x-gateway-quality", "x-gateway-max-cost"


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("1", 1.0), ("1.0", 1.0), (".5", 0.5), ("0.25", 0.25), ("1e-3", 0.001), ("1.", 1.0)]
)
def test_numbers_of_both_headers(text: str, value: float) -> None:
    assert read_dial({QUALITY: text, MAX_COST: text}, ANONYMOUS) == Dial(quality=value, max_cost=value)


@pytest.mark.parametrize("header", [QUALITY, MAX_COST])
@pytest.mark.parametrize(
    "text", ["", " ", "high", "-0.1", "+1", "nan", "inf", "1_0", "0,5", "0.5, 0.7", "1e", "1e999", "0x1", "½", "9" * 99]
)
def test_what_is_no_number_is_a_400_that_names_the_header(header: str, text: str) -> None:
    with pytest.raises(RequestError, match=f"^{header}: ") as refused:
        read_dial({header: text}, ANONYMOUS)
    assert refused.value.param == header
    assert len(refused.value.message) < 150


def test_quality_ends_at_1_and_cost_does_not() -> None:
    with pytest.raises(RequestError, match=r"'1\.01' is not a number from 0"):
        read_dial({QUALITY: "1.01"}, ANONYMOUS)
    assert read_dial({MAX_COST: "120"}, ANONYMOUS).cap == 120.0


def test_a_header_replaces_the_keys_quality_and_only_lowers_its_cap() -> None:
    key = Principal(key_id="k", quality=0.25, max_cost=2.0)
    assert read_dial({}, key) == Dial(quality=0.25, key_max_cost=2.0)
    assert read_dial({QUALITY: "1"}, key).quality == 1.0
    assert read_dial({MAX_COST: "1"}, key).cap == 1.0
    assert read_dial({MAX_COST: "3"}, key).cap == 2.0
    assert read_dial({}, ANONYMOUS) == Dial()


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_text_is_a_number_in_range_or_refused(text: str) -> None:
    try:
        dial = read_dial({QUALITY: text, MAX_COST: text}, ANONYMOUS)
    except RequestError:
        return
    assert 0 <= (dial.quality or 0) <= 1
    assert 0 <= (dial.max_cost or 0) < float("inf")
