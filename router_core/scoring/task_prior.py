"""The `task_prior` scorer: recognise the task, mix how good each model was on the tasks.

    P(m right | x) = sum over t of p(t | x) * accuracy[t, m],   p(t | x) = softmax over t of (weight[t] . x + bias[t])

The mixing is soft: a query between two tasks gets their average, one like none of them the average of all. On
RouterDC's own benchmark this is the plateau that published routers sit on, so it is the row to beat.

    weight    (T, D)    bias  (T,)    multinomial logistic regression over the T tasks
    accuracy  (T, M)    shrunk mean correctness of model m on task t
"""

from typing import ClassVar

from router_core.scoring.base import FloatArray, softmax
from router_core.scoring.registry import Options
from router_core.tensors import Tensors


class TaskPrior:
    """See the module."""

    gives_probabilities: ClassVar[bool] = True

    def __init__(self, tensors: Tensors, prefix: str, options: Options) -> None:
        tasks = f"T:{prefix}"
        self._weight_D_T = tensors.take(f"{prefix}weight", f"{tasks} D").T.copy()
        self._bias_T = tensors.take(f"{prefix}bias", tasks)
        self._accuracy_T_M = tensors.take(f"{prefix}accuracy", f"{tasks} M")

    def tasks(self, vectors_B_D: FloatArray) -> FloatArray:
        """p(t | x), (B, T)."""
        return softmax(vectors_B_D @ self._weight_D_T + self._bias_T)

    def quality(self, vectors_B_D: FloatArray) -> FloatArray:
        """P(m right | x), (B, M)."""
        mixed: FloatArray = self.tasks(vectors_B_D) @ self._accuracy_T_M
        return mixed
