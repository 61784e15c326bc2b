"""The cost-quality dial: what a model is worth for a request.

    utility = quality * probability - (1 - quality) * cost / largest cost

`quality` 1 is quality alone, 0 cost alone. Divided by `quality` it is probability - lambda * cost with
lambda = (1 - quality) / (quality * largest cost): at 0.5, the whole of the largest cost outweighs the whole of the
probability; at 0.9, a ninth of it. The largest cost is that of the dearest model that may answer this very request,
up or down: an outage does not turn the dial.

Promise: with quality 1 the policy's order stands. A pending model and one without a probability have no utility.
"""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.routing.base import RankedModel, Ranking


class Weighing(msgspec.Struct, frozen=True):
    """The dial as it stands for one request."""

    quality: float
    costs: Mapping[str, float]
    largest_cost: float

    @classmethod
    def among(cls, quality: float, costs: Mapping[str, float], names: Iterable[str]) -> "Weighing":
        """`names` are the models that may answer."""
        if quality >= 1:
            # Costs weigh nothing then.
            return cls(quality, costs, 0.0)
        return cls(quality, costs, max((costs[name] for name in names if name in costs), default=0.0))

    def utility(self, entry: RankedModel) -> float | None:
        """See the module; a cost that is not known counts as the largest. None: not to be compared."""
        if entry.confidence is None or entry.is_pending:
            return None
        if self.quality >= 1 or self.largest_cost <= 0:
            return entry.confidence * self.quality
        share = self.costs.get(entry.model, self.largest_cost) / self.largest_cost
        return self.quality * entry.confidence - (1 - self.quality) * share

    def gain(self, best: RankedModel, other: RankedModel) -> float | None:
        """Utility of `best` minus that of `other`; with quality 1 the difference of probabilities."""
        utility_of_best, utility_of_other = self.utility(best), self.utility(other)
        if utility_of_best is None or utility_of_other is None:
            return None
        return utility_of_best - utility_of_other

    def applied(self, ranking: Ranking) -> Ranking:
        """The ranking with the costs that are known, in the order of utility; ties keep the policy's order."""
        models = ranking.models
        if self.costs:
            models = tuple(
                RankedModel(entry.model, entry.confidence, self.costs.get(entry.model), entry.is_pending)
                for entry in models
            )
        if self.quality < 1:
            models = tuple(sorted(models, key=self._place))
        return msgspec.structs.replace(ranking, models=models)

    def _place(self, entry: RankedModel) -> tuple[bool, float]:
        utility = self.utility(entry)
        return utility is None, 0.0 if utility is None else -utility
