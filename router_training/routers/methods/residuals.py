"""Which methods can learn what another scorer leaves unexplained, and which need credits within 0..1."""

from router_training.errors import DataError
from router_training.routers.methods.base import FitData


def refuse_residuals(data: FitData, method: str) -> None:
    """Raise DataError if a credit lies beyond 0..1: `method` reads it as the probability of a right answer."""
    low, high = float(data.credit.min()), float(data.credit.max())
    if low < 0 or high > 1:
        raise DataError(
            f"{method}: credits run from {low:g} to {high:g}, but it learns from credits of 0 to 1 alone; "
            "of residuals learn ridge, knn and clusters"
        )
