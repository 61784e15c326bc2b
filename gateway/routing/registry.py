"""Routing policies by name. A policy is one file and one line here; a file is imported only when it is chosen."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from gateway.routing.base import EncoderAddress, Policy
from gateway.settings import PolicyName, Settings

POLICIES: Mapping[PolicyName, str] = MappingProxyType(
    {
        "learned": "gateway.routing.learned",
        "fixed": "gateway.routing.fixed",
        "weighted": "gateway.routing.weighted",
        "random": "gateway.routing.random",
    }
)


def build_policy(settings: Settings, encoder: EncoderAddress | None = None) -> Policy:
    """The configured policy, not yet started: its module's `build`. `encoder` is for a bundle with a neural one."""
    build: Callable[[Settings, EncoderAddress | None], Policy] = import_module(POLICIES[settings.router.policy]).build
    return build(settings, encoder)
