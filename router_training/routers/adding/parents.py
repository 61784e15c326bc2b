"""Which models of the bundle a new one takes after: named by hand, by its model card, or the mean of all.

A card names parents as their makers call them, a bundle as they are served. A parent of the card is the bundle's model
of that very name, or else the only one with the same last part ("org/model" and "model").
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from router_core.bundle import BundleManifest
from router_core.model_card import ModelCard
from router_training.errors import JobConfigError

Weights = Mapping[str, float]
"""Models of the bundle and their weights, above 0; not yet brought to a sum of 1."""


def parse_parents(texts: Sequence[str], models: Sequence[str]) -> Weights:
    """NAME or NAME=WEIGHT each. Raises JobConfigError."""
    weights: dict[str, float] = {}
    for text in texts:
        name, weight = _parse(text, models)
        if name in weights:
            raise JobConfigError(f"--parents {text}: {name!r} is named twice")
        weights[name] = weight
    return weights


def parents_of_card(card: ModelCard, models: Sequence[str]) -> Weights:
    """The card's parents that the bundle knows, alike; empty if it knows none."""
    found = [_match(parent.name, models) for parent in card.parents]
    return {name: 1.0 for name in found if name is not None}


def default_parents(manifest: BundleManifest, model: str) -> Weights:
    """The model itself if it is being replaced, else all models that are not pending, or all."""
    if model in manifest.models:
        return {model: 1.0}
    ready = [name for name in manifest.models if name not in manifest.calibration.pending]
    return dict.fromkeys(ready or manifest.models, 1.0)


def _parse(text: str, models: Sequence[str]) -> tuple[str, float]:
    if text in models:  # a name may hold an equals sign
        return text, 1.0
    name, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        name, weight = text, 1.0
    if name not in models:
        raise JobConfigError(f"--parents {text}: {name!r} is none of the bundle's models: {', '.join(models)}")
    if not 0 < weight < float("inf"):
        raise JobConfigError(f"--parents {text}: the weight must be above 0 and finite")
    return name, weight


def _match(name: str, models: Sequence[str]) -> str | None:
    if name in models:
        return name
    alike = [model for model in models if PurePosixPath(model).name == PurePosixPath(name).name]
    return alike[0] if len(alike) == 1 else None
