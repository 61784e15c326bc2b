"""Routing policies by name. A policy is one file and one line here; a file is imported only when it is chosen."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from gateway.routing.base import Policy
from gateway.settings import PolicyName, Settings

POLICIES: Mapping[PolicyName, str] = MappingProxyType(
    {
        "learned": "gateway.routing.learned",
        "fixed": "gateway.routing.fixed",
        "weighted": "gateway.routing.weighted",
        "random": "gateway.routing.random",
    }
)


def build_policy(settings: Settings) -> Policy:
    """The configured policy, not yet started: its module's `build(settings)`."""
    build: Callable[[Settings], Policy] = import_module(POLICIES[settings.router.policy]).build
    return build(settings)
