"""From a fitted router to a bundle on disk: its weights, their origin and how well they did on held-out queries.

The bundle says nothing about the machine that made it: data files are named without their folders, and there is no
date, so the same run gives the same digest.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from router_core.bundle import BUNDLED_ENCODER, EncoderSpec, Parent, RouterBundle, RouterWeights, save_bundle
from router_core.encoder_files import weights_digest
from router_training.evaluate.routed_accuracy import (
    Accuracies,
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    mean_accuracies,
)
from router_training.routers.calibration import fit_confidence_temperature
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import Indices, RouterData
from router_training.routers.encoder import SentenceEncoder
from router_training.routers.fitting import FittedRouter
from router_training.routers.routerdc import RouterDC

NOT_RECORDED = {"out", "data", "device"}


def validation_files(data: RouterData, rows: Indices, similarities: npt.NDArray[np.float32]) -> tuple[RoutedFile, ...]:
    """The router's choices on the given rows, one entry per task."""
    choice = dict(zip(rows.tolist(), similarities.argmax(axis=1).tolist(), strict=True))
    return tuple(
        RoutedFile(task, data.credit[part], np.array([choice[row] for row in part], dtype=np.intp))
        for task, part in data.rows_of_tasks(rows).items()
    )


def evaluation_of(data: RouterData, files: tuple[RoutedFile, ...]) -> dict[str, JsonValue]:
    """What the manifest says about the validation split: figures per task and their mean."""
    best = best_single_model(files)
    parts = {file.name: accuracies_of_file(file, best) for file in files}
    return {
        "split": "validation",
        "best_single_model": data.models[best],
        "tasks": {name: _rounded(part) for name, part in parts.items()},
        "mean": _rounded(mean_accuracies(list(parts.values()))),
    }


def export_bundle(
    config: RouterTrainConfig,
    data: RouterData,
    fitted: FittedRouter,
    encoder: SentenceEncoder,
    files: tuple[RoutedFile, ...],
    similarities: npt.NDArray[np.float32],
    validation_rows: Indices,
) -> RouterBundle:
    """Write the bundle to `config.out`. Raises BundleError."""
    settings: dict[str, JsonValue] = config.model_dump(mode="json", exclude=NOT_RECORDED)
    settings |= {
        "k_positive": fitted.k_positive,
        "k_negative": fitted.k_negative,
        "learning_rate": config.step_size,
        "projection": config.head_width,
        "step": fitted.step,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "encoder"
        spec = encoder.spec
        if config.train_encoder:
            encoder.model.save(str(folder), create_model_card=False)
            spec = EncoderSpec(**spec.model_dump() | {"name": BUNDLED_ENCODER, "digest": weights_digest(folder)})
        return save_bundle(
            config.out,
            models=data.models,
            encoder=spec,
            weights=weights_of(fitted.router),
            temperature=config.temperature,
            confidence_temperature=fit_confidence_temperature(similarities, data.credit[validation_rows]),
            data=data.entries,
            parents=(Parent(name=encoder.spec.name, digest=encoder.spec.digest),),
            training=settings,
            evaluation=evaluation_of(data, files),
            encoder_folder=folder if config.train_encoder else None,
        )


def weights_of(router: RouterDC) -> RouterWeights:
    """The trained tensors as the bundle holds them."""
    tensors = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in router.state_dict().items()}
    return RouterWeights(tensors["llm_embeddings"], tensors.get("head.weight"), tensors.get("head.bias"))


def _rounded(accuracies: Accuracies) -> dict[str, JsonValue]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(accuracies).items()}
