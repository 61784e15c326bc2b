"""What an answer of each model costs, as the user says it: MODEL=COST words, or a YAML or JSON file of model: cost.

The unit is the user's own: a price per query, measured seconds, GPU-seconds; only ratios and sums matter.

Promise: every model of the bundle gets one finite cost of at least 0, and not all the same; anything else is a
JobConfigError that names the model.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from router_training.errors import JobConfigError
from router_training.evaluate.routed_accuracy import Floats

SUFFIXES = (".yaml", ".yml", ".json")


def read_costs(words: Sequence[str], models: Sequence[str]) -> Floats:
    """Cost (M,) of each model. A later word overrides an earlier one; a word ending in .yaml, .yml or .json is a file.

    Models that the bundle does not have may be priced too. Raises JobConfigError.
    """
    costs: dict[str, float] = {}
    for word in words:
        if word.endswith(SUFFIXES) and "=" not in Path(word).name:
            costs |= _read_file(word)
        else:
            model, equals, text = word.rpartition("=")
            if not equals or not model:
                raise JobConfigError(f"--costs {word}: must be MODEL=COST, or a file ending in {', '.join(SUFFIXES)}")
            costs[model] = _cost(text, model)
    missing = [model for model in models if model not in costs]
    if missing:
        raise JobConfigError(f"--costs: no cost for {', '.join(missing)}; give {missing[0]}=COST")
    chosen: Floats = np.array([costs[model] for model in models], dtype=np.float64)
    if chosen.max() <= chosen.min():
        raise JobConfigError(f"--costs: every model costs {chosen[0]:g}: there is no trade between cost and quality")
    return chosen


def _read_file(name: str) -> dict[str, float]:
    try:
        value = yaml.safe_load(Path(name).read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise JobConfigError(f"--costs {name}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise JobConfigError(f"--costs {name}: must map each model to its cost, as in llm-a: 0.5")
    return {str(model): _cost(cost, f"{model} in {name}") for model, cost in value.items()}


def _cost(value: object, where: str) -> float:
    try:
        cost = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        cost = math.nan
    if not (math.isfinite(cost) and cost >= 0):
        raise JobConfigError(f"--costs: {where}: {value!r} is not a cost; give a finite number of at least 0")
    return cost
