"""The scorers a bundle may name. A scorer is one file and one line here; a file is imported only when it is named."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from pydantic import JsonValue

from router_core.errors import BundleError
from router_core.scoring.base import Scorer
from router_core.tensors import Tensors

Options = Mapping[str, JsonValue]

SCORERS: Mapping[str, str] = MappingProxyType(
    {
        "prior_residual": "router_core.scoring.prior_residual:PriorResidual",
        "task_prior": "router_core.scoring.task_prior:TaskPrior",
        "routerdc": "router_core.scoring.routerdc:RouterDC",
        "knn": "router_core.scoring.knn:KNN",
        "cosine_classifier": "router_core.scoring.cosine_classifier:CosineClassifier",
        "mlp": "router_core.scoring.mlp:MLP",
        "clusters": "router_core.scoring.clusters:Clusters",
        "ridge": "router_core.scoring.ridge:Ridge",
    }
)


def build_scorer(name: str, tensors: Tensors, prefix: str, options: Options) -> Scorer:
    """The named scorer over the tensors that start with `prefix`. Raises BundleError."""
    if name not in SCORERS:
        raise BundleError(f"{tensors.where}: scorer {name!r} is not known here; known: {', '.join(sorted(SCORERS))}")
    module, _, kind = SCORERS[name].partition(":")
    build: Callable[[Tensors, str, Options], Scorer] = getattr(import_module(module), kind)
    return build(tensors, prefix, options)
