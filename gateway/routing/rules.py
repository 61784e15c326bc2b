"""Rules that stand ahead of the router: a header, a key or a pattern in the ask names the model.

Compiled once; the first rule that matches wins. A rule whose model is masked out for this request is passed over, with
a line in the log, and the search goes on. Patterns see the first 4,096 characters of the ask, so that their cost is
bounded for any text; a pattern that backtracks without end is the operator's to avoid.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.observability.logs import log_event
from gateway.routing.base import RoutingRequest
from gateway.routing.masks import Masked
from gateway.settings import RuleSettings

PATTERN_CHARACTERS = 4096

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition, ready to be tried. A part that is None always holds."""

    name: str
    model: str
    header: str | None
    equals: str | None
    key: str | None
    pattern: re.Pattern[str] | None

    def matches(self, request: RoutingRequest) -> bool:
        """True if every part that is given holds."""
        if self.key is not None and self.key != request.key_id:
            return False
        if self.header is not None:
            value = request.headers.get(self.header)
            if value is None or (self.equals is not None and self.equals != value):
                return False
        return self.pattern is None or self.pattern.search(request.ask, 0, PATTERN_CHARACTERS) is not None


class Rules:
    """The configured rules in their order."""

    def __init__(self, settings: Sequence[RuleSettings]) -> None:
        self._rules = tuple(_compiled(rule) for rule in settings)

    def first_match(self, request: RoutingRequest, masked: Masked) -> Rule | None:
        """The first rule that matches and whose model may answer."""
        for rule in self._rules:
            if not rule.matches(request):
                continue
            if rule.model in masked.allowed:
                return rule
            log_event(_logger, "rule_passed_over", rule=rule.name, model=rule.model, why=masked.why_not(rule.model))
        return None


def _compiled(rule: RuleSettings) -> Rule:
    when = rule.when
    return Rule(
        name=rule.name,
        model=rule.model,
        header=None if when.header is None else when.header.lower(),
        equals=when.equals,
        key=when.key,
        pattern=None if when.pattern is None else re.compile(when.pattern),
    )
