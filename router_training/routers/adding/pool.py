"""How much the models of a pool differ, which says how far a newcomer's row may lie from its warm start.

A model's row deviates from the mean of the others' rows; the newcomer's deviation is taken for one more like these.
Half of its variance is that of the pool's deviations as they are, which lie in few directions and are soon told apart;
half is each number's own, so that what no model of the pool is like can be learned from many probes:

    covariance = (1/2) (1/M) sum over m of d[m] d[m]'  +  (1/2) diag( (1/M) sum over m of d[m]^2 )

Axis suffixes: M models, J numbers of a row, K = M + J.
"""

import numpy as np

from router_training.routers.methods.base import Floats

PSEUDO_MODELS = 2.0
_LEAST_VARIANCE = 1e-8


def deviations(rows_M_J: Floats) -> Floats:
    """Each row less the mean of the others, (M, J)."""
    others_M_J = (rows_M_J.sum(axis=0) - rows_M_J) / (len(rows_M_J) - 1)
    deviations_M_J: Floats = rows_M_J - others_M_J
    return deviations_M_J


def scatter_root(rows_M_J: Floats) -> Floats:
    """A root R (J, K) of the covariance: R u with u ~ N(0, 1) is a deviation like the pool's."""
    deviations_M_J = deviations(rows_M_J)
    variance_J = np.maximum((deviations_M_J**2).mean(axis=0), _LEAST_VARIANCE)
    return np.hstack([deviations_M_J.T / np.sqrt(2 * len(rows_M_J)), np.diag(np.sqrt(variance_J / 2))])


def scatter(rows_M_J: Floats) -> Floats:
    """Mean squared deviation (J,), each drawn to their mean: few models tell little of a single number's scatter."""
    scatter_J = (deviations(rows_M_J) ** 2).mean(axis=0)
    drawn_J: Floats = (len(rows_M_J) * scatter_J + PSEUDO_MODELS * scatter_J.mean()) / (len(rows_M_J) + PSEUDO_MODELS)
    return np.maximum(drawn_J, _LEAST_VARIANCE)
