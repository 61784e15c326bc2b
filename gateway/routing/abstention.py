"""When the router is not sure enough to overrule the declared default, the default answers.

The bundle holds, for each default model it was fitted for, the least gain: below that difference between the
probabilities of the best model and of the default, routing earned too little on held-out queries to be worth what it
sometimes lost. With the cost-quality dial below 1 the gain is that in utility, divided by `quality` so that it counts
in probability as the threshold does; with the dial at 0 the router never abstains, since quality is not asked for.

A stronger model may stand in for the default (`router.abstain_to`). Masks hold: the router abstains only where the
default itself may answer.
"""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.routing.base import RankedModel, Ranking
from gateway.routing.weighing import Weighing


@dataclass(frozen=True, slots=True)
class Abstention:
    """The settings' side of it. `stand_in` answers instead of `default`, if it may."""

    default: str
    stand_in: str | None = None

    def instead_of(
        self, best: RankedModel, ranking: Ranking, weighing: Weighing, allowed: Collection[str]
    ) -> RankedModel | None:
        """Who answers instead of `best`; None if the router does not abstain."""
        least_gain = ranking.least_gains.get(self.default)
        if least_gain is None or best.model == self.default or self.default not in allowed:
            return None
        entries = {entry.model: entry for entry in ranking.models}
        gain = weighing.gain(best, entries[self.default]) if self.default in entries else None
        if gain is None or gain >= least_gain * weighing.quality:
            return None
        target = self.stand_in if self.stand_in is not None and self.stand_in in allowed else self.default
        return None if target == best.model else entries.get(target, RankedModel(target))
