"""From a fitted and judged router to a bundle on disk.

The bundle says nothing about the machine that made it: data files are named without their folders, and there is no
date, so the same run gives the same digest.
"""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from router_core.bundle import (
    BUNDLED_ENCODER,
    QUESTION_HASHES,
    CalibrationSpec,
    EncoderSpec,
    Parent,
    RouterBundle,
    ScorerSpec,
    SentenceEncoderSpec,
    question_hash,
    save_bundle,
)
from router_core.encoder_files import weights_digest
from router_core.scoring.learned import CALIBRATION, NOVELTY, SCORER
from router_core.tensors import AnyArray
from router_training.evaluate.routed_accuracy import (
    Accuracies,
    RoutedFile,
    accuracies_of_file,
    best_single_model,
    mean_accuracies,
)
from router_training.routers.config import RouterTrainConfig
from router_training.routers.dataset import RouterData
from router_training.routers.encoding import Encoded
from router_training.routers.judged import Judged
from router_training.routers.methods.base import FitData, Floats, Indices

NOT_RECORDED = {"out", "data", "device"}
VERIFIED_QUESTIONS = 1000
"""An exported encoder is compared with torch on so many training questions, spread evenly over the tables."""


def validation_files(data: FitData, rows: Indices, probability: Floats) -> tuple[RoutedFile, ...]:
    """The router's choices on held-out rows, one entry per task."""
    choice_N = probability.argmax(axis=1)
    tasks = np.array([data.tasks[row] for row in rows])
    credit = data.credit[rows]
    return tuple(
        RoutedFile(task, credit[tasks == task], choice_N[tasks == task].astype(np.intp))
        for task in sorted(set(tasks.tolist()))
    )


def evaluation_of(data: FitData, models: tuple[str, ...], judged: Judged) -> dict[str, JsonValue]:
    """What the manifest says of held-out queries: figures per task, their mean, how well calibrated."""
    files = validation_files(data, judged.rows, judged.probability)
    best = best_single_model(files)
    parts = {file.name: accuracies_of_file(file, best) for file in files}
    return {
        "split": "out of fold" if len(judged.rows) == len(data) else "validation",
        "best_single_model": models[best],
        "tasks": {name: _rounded(part) for name, part in parts.items()},
        "mean": _rounded(mean_accuracies(list(parts.values()))),
        "calibration": dict(judged.calibration.evaluation),
        **{name: value for name, value in judged.notes.items() if name != "setting"},
    }


def export_bundle(
    config: RouterTrainConfig, data: RouterData, fit_data: FitData, encoded: Encoded, judged: Judged
) -> RouterBundle:
    """Write the bundle to `config.out`. Raises BundleError."""
    hashes = np.array(sorted({question_hash(question) for question in data.questions}), dtype=np.uint64)
    tensors: dict[str, AnyArray] = {
        **encoded.tensors,
        **{f"{SCORER}{name}": tensor for name, tensor in judged.fitted.tensors.items()},
        **{f"{CALIBRATION}{name}": tensor for name, tensor in judged.calibration.tensors.items()},
        **{f"{NOVELTY}{name}": tensor for name, tensor in judged.novelty.items()},
        QUESTION_HASHES: hashes,
    }
    settings: dict[str, JsonValue] = config.model_dump(mode="json", include=config.model_fields_set - NOT_RECORDED)
    settings |= {"method": config.method, "seed": config.seed, "folds": config.folds, **judged.fitted.settings}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "encoder"
        spec, export = _carried_encoder(config, data, encoded, judged, folder)
        return save_bundle(
            config.out,
            models=data.models,
            encoder=spec,
            scorer=ScorerSpec(name=judged.fitted.name, options=dict(judged.fitted.options)),
            tensors=tensors,
            calibration=CalibrationSpec(method=judged.calibration.method),
            abstention=judged.abstention,
            data=data.entries,
            parents=_parents(encoded.spec),
            training=settings | export,
            evaluation=evaluation_of(fit_data, data.models, judged),
            encoder_folder=folder if folder.exists() else None,
        )


def _carried_encoder(
    config: RouterTrainConfig, data: RouterData, encoded: Encoded, judged: Judged, folder: Path
) -> tuple[EncoderSpec, dict[str, JsonValue]]:
    """The encoder's spec and what the manifest says of its export; fills `folder` if the bundle is to carry it."""
    if encoded.model is None or not isinstance(encoded.spec, SentenceEncoderSpec):
        return encoded.spec, {}
    if config.export_encoder:
        from router_training.routers.encoder_export import export_encoder

        scorer = judged.fitted.scorer(encoded.spec.dimensions, len(data.models))
        rows = np.unique(np.linspace(0, len(data) - 1, VERIFIED_QUESTIONS).astype(np.intp))
        report = export_encoder(
            encoded.model,
            folder,
            [data.questions[row] for row in rows],
            lambda vectors_N_D: scorer.quality(vectors_N_D).argmax(axis=1),
            # Those of a fine-tuned encoder are of before its training.
            vectors=None if config.train_encoder else encoded.vectors[rows],
        )
        return report.spec, {"export": report.record()}
    if not config.train_encoder:
        return encoded.spec, {}
    encoded.model.model.save(str(folder), create_model_card=False)
    changes = {"name": BUNDLED_ENCODER, "digest": weights_digest(folder)}
    return SentenceEncoderSpec(**encoded.spec.model_dump() | changes), {}


def _parents(spec: EncoderSpec) -> tuple[Parent, ...]:
    return (Parent(name=spec.name, digest=spec.digest),) if isinstance(spec, SentenceEncoderSpec) else ()


def _rounded(accuracies: Accuracies) -> dict[str, JsonValue]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(accuracies).items()}
