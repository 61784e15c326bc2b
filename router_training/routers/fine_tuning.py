"""RouterDC proper: the encoder is fine-tuned with the LLM embeddings, so nothing can be cross-validated cheaply.

A validation split of each task chooses the checkpoint and, held out from training, gives the figures that the
calibration, the abstention thresholds and the evaluation are fitted on.
"""

from dataclasses import replace

import numpy as np
from pydantic import JsonValue
from tqdm import tqdm

from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import RouterData, split_rows
from router_training.routers.encoding import Encoded
from router_training.routers.fitting import Split, fit_routerdc, scorer_tensors, similarities_of
from router_training.routers.judged import Judged, Say, judge
from router_training.routers.methods.base import FitData, Fitted, Indices
from router_training.routers.methods.routerdc import clusters_of
from router_training.routers.vectors import TrainedVectors


def fine_tune_and_judge(
    config: RouterTrainConfig, data: RouterData, fit_data: FitData, encoded: Encoded, folds_N: Indices, say: Say
) -> Judged:
    """Train encoder and embeddings; `encoded.model` is changed in place. Raises TrainingError."""
    if encoded.model is None:
        raise ValueError("the features encoder cannot be fine-tuned")
    split = Split(*split_rows(data, validation_fraction=config.validation_fraction, seed=config.seed))
    say(f"train on {len(split.train)} rows, choose on {len(split.validation)} held out")
    vectors = TrainedVectors(encoded.model, data.questions)
    clusters = clusters_of(config, fit_data, split.train)
    with tqdm(total=config.steps, desc="train", unit="step", mininterval=1) as bar:
        shown: dict[str, str] = {}

        def report(step: int, loss: float, accuracy: float | None) -> None:
            shown["loss"] = f"{loss:.3f}"
            if accuracy is not None:
                shown["accuracy"] = f"{accuracy:.4f}"
            bar.set_postfix(shown, refresh=False)
            bar.update()

        found = fit_routerdc(data, split, vectors, clusters, config, report)
    fitted = Fitted("routerdc", scorer_tensors(found.router), settings={"step": found.step})
    figures = similarities_of(found.router, vectors, split.validation).astype(np.float64)
    tuned = replace(fit_data, vectors=encoded.model.embed(data.questions))
    notes: dict[str, JsonValue] = {"setting": {"steps": config.steps, "checkpoint": found.step}}
    return judge(config, tuned, fitted, split.validation, figures, folds_N, data.models, notes)
