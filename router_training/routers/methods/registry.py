"""The methods a router can be trained with. One file and one line each; a file is imported only when it is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from router_training.routers.methods.base import FitData, Fitted, Setting

_HOME = "router_training.routers.methods"

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "prior_residual": f"{_HOME}.prior_residual",
        "task_prior": f"{_HOME}.task_prior",
        "routerdc": f"{_HOME}.routerdc",
        "knn": f"{_HOME}.knn",
        "cosine_classifier": f"{_HOME}.cosine_classifier",
        "mlp": f"{_HOME}.mlp",
        "clusters": f"{_HOME}.clusters",
        "ridge": f"{_HOME}.ridge",
    }
)


@dataclass(frozen=True)
class Method:
    """A method's two names: `fit(data, **setting)` and the settings to choose among, the first being the default."""

    name: str
    fit: Callable[..., Fitted]
    grid: tuple[Setting, ...]


def method_named(name: str) -> Method:
    """The method of METHODS; KeyError for another."""
    module = import_module(METHODS[name])
    return Method(name, module.fit, getattr(module, "GRID", ({},)))


__all__ = ["METHODS", "FitData", "Fitted", "Method", "method_named"]
