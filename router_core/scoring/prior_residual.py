"""The `prior_residual` scorer: the task prior, plus what a second scorer adds to it within a task.

    P(m right | x) = clip(prior(x)[m] + strength * residual(x)[m], 0, 1)

The residual scorer is fitted on what the prior leaves unexplained. The trainer keeps it only if its gain over the
prior, paired and cross-validated, has a lower confidence bound above zero; otherwise the bundle has no residual and
this is the prior alone. Option `residual`: the name of that scorer, or null.

    prior.*     of task_prior        residual.*  of the residual scorer        strength  (1,)
"""

from typing import ClassVar

import numpy as np

from router_core.errors import BundleError
from router_core.scoring.base import FloatArray, Scorer
from router_core.scoring.registry import Options, build_scorer
from router_core.scoring.task_prior import TaskPrior
from router_core.tensors import Tensors


class PriorResidual:
    """See the module."""

    gives_probabilities: ClassVar[bool] = True

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        self.prior = TaskPrior(tensors, f"{prefix}prior.", {})
        self.residual: Scorer | None = None
        name = options.get("residual")
        if name is None:
            return
        if not isinstance(name, str) or name == "prior_residual":
            raise BundleError(f"{tensors.where}: scorer option residual is {name!r}, expected a scorer's name or null")
        self.residual = build_scorer(name, tensors, f"{prefix}residual.", {})
        self._strength = tensors.take(f"{prefix}strength", "one")

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """P(m right | x), (B, M)."""
        prior_B_M = self.prior.quality(vectors_B_D)
        if self.residual is None:
            return prior_B_M
        mixed_B_M = prior_B_M + self._strength * self.residual.quality(vectors_B_D)
        clipped: FloatArray = np.minimum(np.maximum(mixed_B_M, 0), 1)
        return clipped
