import json
import logging
from typing import Any

import pytest

from gateway.observability.logs import JsonFormatter
from gateway.routing.base import RoutingRequest
from gateway.routing.masks import Masked, mask_models
from gateway.routing.rules import Rules
from tests.gateway.routing.samples import Pool, model, rule

REQUEST = RoutingRequest(ask="please write SQL", headers={"x-team": "data"}, key_id="k1")
MODELS = [model("a"), model("b")]


def masked(request: RoutingRequest = REQUEST, down: str = "") -> Masked:
    return mask_models(MODELS, request, Pool({down}))


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ({"header": "x-team"}, True),
        ({"header": "X-Team"}, True),
        ({"header": "x-team", "equals": "data"}, True),
        ({"header": "x-team", "equals": "Data"}, False),
        ({"header": "x-other"}, False),
        ({"key": "k1"}, True),
        ({"key": "k2"}, False),
        ({"pattern": r"\bSQL\b"}, True),
        ({"pattern": r"\bsql\b"}, False),
        ({"pattern": r"(?i)\bsql\b"}, True),
        ({"header": "x-team", "key": "k1", "pattern": "write"}, True),
        ({"header": "x-team", "key": "k2", "pattern": "write"}, False),
        ({"header": "x-team", "key": "k1", "pattern": "read"}, False),
    ],
)
def test_a_rule_holds_when_every_part_holds(when: dict[str, str], matches: bool) -> None:
    found = Rules([rule("r", "a", **when)]).first_match(REQUEST, masked())
    assert (found is not None) is matches


def test_the_first_rule_that_matches_wins() -> None:
    rules = Rules([rule("no", "a", key="k2"), rule("yes", "b", key="k1"), rule("late", "a", pattern="SQL")])
    found = rules.first_match(REQUEST, masked())
    assert found is not None
    assert (found.name, found.model) == ("yes", "b")


def test_an_empty_header_is_present() -> None:
    request = RoutingRequest(ask="", headers={"x-team": ""})
    assert Rules([rule("r", "a", header="x-team")]).first_match(request, masked(request)) is not None


def test_a_request_without_a_key_matches_no_key_rule() -> None:
    request = RoutingRequest(ask="")
    assert Rules([rule("r", "a", key="k1")]).first_match(request, masked(request)) is None


@pytest.mark.parametrize(("before", "matches"), [(4092, True), (4093, False)])
def test_a_pattern_sees_the_first_4096_characters(before: int, matches: bool) -> None:
    request = RoutingRequest(ask="x" * before + "code" + "x" * 100)
    found = Rules([rule("r", "a", pattern="code")]).first_match(request, masked(request))
    assert (found is not None) is matches


def test_a_rule_whose_model_is_masked_is_passed_over_and_logged(caplog: Any) -> None:
    rules = Rules([rule("down", "a", key="k1"), rule("up", "b", key="k1")])
    with caplog.at_level(logging.INFO):
        found = rules.first_match(REQUEST, masked(down="a"))
    assert found is not None
    assert found.name == "up"
    line = json.loads(JsonFormatter().format(caplog.records[0]))
    assert (line["event"], line["rule"], line["model"], line["why"]) == ("rule_passed_over", "down", "a", "unhealthy")
    assert "SQL" not in json.dumps(line)
