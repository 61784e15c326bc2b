"""What `router-training router train` can be told."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from router_training.job_config import UNQUOTED
from router_training.routers.clusters import ClusterSource

FROZEN_LEARNING_RATE = 2e-3
FINE_TUNING_LEARNING_RATE = 5e-5
FROZEN_PROJECTION = 128
DEFAULT_MAX_TOKENS = 128
FEATURES = "features"

MethodName = Literal["prior_residual", "task_prior", "routerdc", "knn", "cosine_classifier", "mlp", "clusters", "ridge"]
ResidualName = Literal["ridge", "knn", "clusters", "none"]

_ROUTERDC_ONLY = frozenset({
    "train_encoder", "projection", "k_positive", "k_negative", "cluster_negatives", "cluster_weight", "cluster_source",
    "cluster_count", "temperature", "labels", "samples_per_task", "steps", "batch_size", "learning_rate",
    "weight_decay", "evaluate_every", "validation_fraction", "released_code_faults",
})  # fmt: skip
_NEURAL_ONLY = frozenset({"max_tokens", "truncation_side", "train_encoder", "export_encoder", "device"})


class RouterTrainConfig(BaseModel):
    """One training run. Every field is a flag of the same name and a key of the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[str, ...] = Field(
        min_length=1,
        description="Training tables, or RouterDC's own JSON; PATH or PATH:multi_attempt or PATH:probability.",
    )
    out: Path = Field(description="The bundle directory to write.")
    method: MethodName = Field("prior_residual", description="What is learned; the bundle names its scorer.")
    encoder: str = Field(
        FEATURES, min_length=1, description="features (numpy alone), or a sentence encoder: package, folder, hub name."
    )
    residuals: tuple[ResidualName, ...] = Field(
        ("ridge", "knn"),
        min_length=1,
        description="prior_residual: what may be added to the prior if it proves a gain.",
    )
    folds: int = Field(5, ge=2, le=20, description="Folds of the cross-validation that chooses and calibrates.")
    unseen_share: float = Field(
        0.5, ge=0, le=1, description="Share of traffic expected of tasks that the tables lack; weighs every choice."
    )
    max_regret: float = Field(
        0.01, ge=0, le=1, description="Abstention: most that routing may lose against the default, in accuracy."
    )
    max_tokens: int = Field(
        DEFAULT_MAX_TOKENS, ge=1, description="Sentence encoder: longest query, in tokens; the rest is cut off."
    )
    truncation_side: Literal["left", "right"] = Field("left", description="Which end of a long query is cut off.")
    train_encoder: bool = Field(False, description="routerdc: fine-tune the encoder; the bundle then carries it.")
    export_encoder: bool = Field(
        False, description="Carry the sentence encoder as an OpenVINO graph: gateways then run it without torch."
    )
    projection: int | None = Field(
        None, ge=1, description=f"routerdc: width of the head on a frozen encoder. Default: {FROZEN_PROJECTION}"
    )
    k_positive: int | None = Field(
        None, ge=1, description="routerdc: K+. Default: 3, or half of the models if fewer than 6."
    )
    k_negative: int | None = Field(
        None, ge=1, description="routerdc: K-. Default: 3, or half of the models if fewer than 6."
    )
    cluster_negatives: int = Field(3, ge=1, description="routerdc: H of the sample-sample loss.")
    cluster_weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="routerdc: lambda, its weight.")
    cluster_source: ClusterSource = Field("kmeans", description="routerdc: kmeans, table (its cluster_id) or task.")
    cluster_count: int = Field(5, ge=2, description="routerdc: number of k-means clusters.")
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="routerdc: t, which divides every cosine.")
    labels: Literal["scores", "credit"] = Field(
        "scores", description="routerdc: ranks the LLMs by the scores as they are, or by what the metric credits."
    )
    samples_per_task: int | None = Field(
        None, ge=1, description="routerdc: cut or repeat each task to so many rows (released code: 1000). Default: all."
    )
    steps: int = Field(1000, ge=1, description="routerdc: training steps.")
    batch_size: int = Field(64, ge=2, description="routerdc: queries a step.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description=f"routerdc: AdamW. Default: {FROZEN_LEARNING_RATE} frozen, {FINE_TUNING_LEARNING_RATE} fine-tuned.",
    )
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False, description="routerdc: AdamW.")
    evaluate_every: int = Field(50, ge=1, description="routerdc: steps between looks at the validation split.")
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="routerdc: share of each task held out to choose the checkpoint."
    )
    released_code_faults: bool = Field(False, description="routerdc: reproduce the released code's faults.")
    seed: int = Field(0, ge=0, lt=2**32, description="Of folds, splits, weights, batches and every draw.")
    device: str = Field("cpu", min_length=1, description="Torch device of a sentence encoder.")

    @model_validator(mode="before")
    @classmethod
    def _splits_residuals(cls, values: object) -> object:
        if isinstance(values, dict) and isinstance(values.get("residuals"), str):
            return {**values, "residuals": [name.strip() for name in values["residuals"].split(",")]}
        return values

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.method != "routerdc":
            _refuse(self.model_fields_set & _ROUTERDC_ONLY, "belongs to --method routerdc")
        if self.encoder == FEATURES:
            _refuse(self.model_fields_set & _NEURAL_ONLY, "belongs to a sentence encoder, see --encoder")
        if self.method != "prior_residual" and "residuals" in self.model_fields_set:
            _refuse({"residuals"}, "belongs to --method prior_residual")
        if self.train_encoder and self.projection is not None:
            raise ValueError("projection: belongs to a frozen encoder; leave it out with train_encoder")
        return self

    @property
    def head_width(self) -> int | None:
        """RouterDC: width of the linear head; None for no head."""
        return None if self.train_encoder else self.projection or FROZEN_PROJECTION

    @property
    def step_size(self) -> float:
        """RouterDC: the learning rate, given or by default."""
        default = FINE_TUNING_LEARNING_RATE if self.train_encoder else FROZEN_LEARNING_RATE
        return self.learning_rate or default

    @property
    def given_for_routerdc(self) -> dict[str, object]:
        """The options of RouterDC that were given, by name."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set & _ROUTERDC_ONLY)}


def _refuse(names: set[str] | frozenset[str], why: str) -> None:
    if names:
        raise PydanticCustomError(UNQUOTED, "{name}: {why}", {"name": sorted(names)[0], "why": why})
