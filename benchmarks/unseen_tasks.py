"""Leave one task out: routers that never saw it, nor features fitted on it, answer its test queries.

Settings are chosen anew on the tasks that remain. Beside the routers stand the single model that is best on the train
sides of the other tasks, which is what one would use without a router, and the best model of the unseen task, which no
router can know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contenders import Contender, compete, features_vectors
from benchmarks.served import train_served
from benchmarks.sides import Sides, earned_by
from router_training.evaluate.routed_accuracy import Floats

DEFAULT = "default, as served"
BEST_OF_OTHERS = "best single of the other tasks"
TASK_BEST = "best LLM of this task"


@dataclass(frozen=True)
class Unseen:
    """One left-out task: credit (N,) on its test queries of every router and rival, by name."""

    task: str
    earned: Mapping[str, Floats]


def leave_one_out(
    sides: Sides, contenders: Sequence[Contender], seeds: Sequence[int], *, with_default: bool
) -> list[Unseen]:
    """Each task in turn. The default is trained with the first seed, contenders that draw with each."""
    return [_leave_out(task, sides.without(task), contenders, seeds, with_default) for task in sides.tasks]


def _leave_out(
    task: str, sides: Sides, contenders: Sequence[Contender], seeds: Sequence[int], with_default: bool
) -> Unseen:
    print(f"without {task}:", flush=True)
    credit = sides.test.credit
    earned: dict[str, Floats] = {
        BEST_OF_OTHERS: credit[:, sides.best_single],
        TASK_BEST: credit[:, int(credit.mean(axis=0).argmax())],
    }
    if with_default:
        routed = train_served(sides.train, seeds[0]).route(sides.test.questions)
        earned[DEFAULT] = earned_by(routed.choice, credit)
    vectors = features_vectors(sides)
    for contender in contenders:
        earned[contender.label] = compete(contender, sides, vectors, seeds).mean_earned
    return Unseen(task, earned)
