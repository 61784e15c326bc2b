"""What `router-training router train` can be told."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from router_core.encoder_files import PACKAGED_ENCODER
from router_training.routers.clusters import ClusterSource

FROZEN_LEARNING_RATE = 2e-3
FINE_TUNING_LEARNING_RATE = 5e-5
FROZEN_PROJECTION = 128


class RouterTrainConfig(BaseModel):
    """One training run. Every field is a flag of the same name and a key of the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[str, ...] = Field(
        min_length=1,
        description="Training tables, or RouterDC's own JSON; PATH or PATH:multi_attempt or PATH:probability.",
    )
    out: Path = Field(description="The bundle directory to write.")
    encoder: str = Field(PACKAGED_ENCODER, min_length=1, description="Sentence encoder: package, folder or hub name.")
    train_encoder: bool = Field(False, description="Fine-tune the encoder end to end; the bundle then carries it.")
    max_tokens: int = Field(128, ge=1, description="Longest query, in tokens; the rest is cut off.")
    truncation_side: Literal["left", "right"] = Field("left", description="Which end of a long query is cut off.")
    projection: int | None = Field(
        None, ge=1, description=f"Width of the head on a frozen encoder. Default: {FROZEN_PROJECTION}"
    )
    k_positive: int | None = Field(None, ge=1, description="K+. Default: 3, or half of the models if fewer than 6.")
    k_negative: int | None = Field(None, ge=1, description="K-. Default: 3, or half of the models if fewer than 6.")
    cluster_negatives: int = Field(3, ge=1, description="H of the sample-sample loss.")
    cluster_weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="Lambda, weight of that loss.")
    cluster_source: ClusterSource = Field("kmeans", description="Clusters: kmeans, table (its cluster_id) or task.")
    cluster_count: int = Field(5, ge=2, description="Number of k-means clusters.")
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, description="t, which divides every cosine.")
    labels: Literal["scores", "credit"] = Field(
        "scores", description="What ranks the LLMs: the scores as they are, or what the metric credits (0 or 1)."
    )
    samples_per_task: int | None = Field(
        None, ge=1, description="Cut or repeat each task to this many rows; RouterDC: 1000. Default: all rows, once."
    )
    steps: int = Field(1000, ge=1, description="Training steps.")
    batch_size: int = Field(64, ge=2, description="Queries a step.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description=f"AdamW. Default: {FROZEN_LEARNING_RATE} frozen, {FINE_TUNING_LEARNING_RATE} fine-tuned.",
    )
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False, description="AdamW.")
    evaluate_every: int = Field(50, ge=1, description="Steps between looks at the validation split.")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="Share of each task held out for validation.")
    released_code_faults: bool = Field(False, description="Reproduce the released code's faults (routerdc.py).")
    seed: int = Field(0, ge=0, lt=2**32, description="Of the split, the weights, the batches and every draw.")
    device: str = Field("cpu", min_length=1, description="Torch device.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.train_encoder and self.projection is not None:
            raise ValueError("projection: belongs to a frozen encoder; leave it out with train_encoder")
        return self

    @property
    def head_width(self) -> int | None:
        """Width of the linear head; None for no head."""
        return None if self.train_encoder else self.projection or FROZEN_PROJECTION

    @property
    def step_size(self) -> float:
        """The learning rate, given or by default."""
        default = FINE_TUNING_LEARNING_RATE if self.train_encoder else FROZEN_LEARNING_RATE
        return self.learning_rate or default
