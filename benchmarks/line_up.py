"""The routing methods that are set beside each other, the same ones on every data set.

"RouterDC as in the paper" has the settings of the paper, which are the defaults of `--method routerdc`, and each task
cut or repeated to 1000 rows as the released code does it; the rows after it change one thing each.
"""

from benchmarks.contenders import Contender

PAPER = {"samples_per_task": 1000}

PRIOR = Contender("task prior", "task_prior")
KNN = Contender("kNN", "knn")
RIDGE = Contender("ridge", "ridge")
BOTH_LOSSES = Contender("RouterDC as in the paper", "routerdc", PAPER)
ONE_LOSS = Contender("RouterDC without the second loss", "routerdc", {**PAPER, "cluster_weight": 0.0})

ALL = (
    PRIOR,
    KNN,
    Contender("cosine classifier", "cosine_classifier"),
    Contender("MLP", "mlp"),
    Contender("clusters", "clusters"),
    RIDGE,
    Contender("RouterDC with its setting chosen on train", "routerdc"),
    BOTH_LOSSES,
    ONE_LOSS,
    Contender("RouterDC with the released code's faults", "routerdc", {**PAPER, "released_code_faults": True}),
)
ON_SENTENCE_VECTORS = (PRIOR, KNN, RIDGE, BOTH_LOSSES, ONE_LOSS)
ON_UNSEEN_TASKS = (PRIOR, KNN, RIDGE, BOTH_LOSSES)
QUICK = (PRIOR, RIDGE, BOTH_LOSSES, ONE_LOSS)
QUICK_ON_UNSEEN_TASKS = (PRIOR, RIDGE)
