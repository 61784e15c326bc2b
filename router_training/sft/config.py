"""The options of `router-training sft`: one frozen model, read from a job's YAML, printed by --dry-run.

Paths are relative to the folder the command runs in. Leaves out: full fine-tuning and several GPUs.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class SftConfig(BaseModel):
    """One fine-tuning job. Defaults are the recipe measured on 135M-parameter models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="the model's name, and its folder's")
    base: Path = Field(description="folder of the base model, with the chat template to train with")
    data: tuple[Path, ...] = Field(min_length=1, description='JSON Lines of {"prompt", "completion"}')
    work: Path = Field(description="where checkpoints and the full-rank adapter go")
    output: Path = Field(description="where the shipped adapter and its card go")
    check: Path | None = Field(default=None, description="query file to measure on before and after the cut")
    check_tasks: tuple[str, ...] = Field(default=(), description="tasks of the check file to measure; all if empty")
    check_items_per_task: int = Field(default=20, ge=1)
    check_max_new_tokens: int = Field(default=64, ge=1)
    steps: int = Field(ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    warmup_steps: int = Field(default=10, ge=0)
    final_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    gradient_clip: float = Field(default=1.0, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    shipped_rank: int = Field(default=4, ge=1)
    target_modules: tuple[str, ...] = PROJECTIONS
    max_tokens: int = Field(default=256, ge=8, description="longer examples are refused, not cut")
    save_every_steps: int = Field(default=50, ge=1)
    compute_dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = Field(default=1, ge=1, description="CPU threads; two jobs of one thread beat one of two")
    seed: int = 0
    licence: str = "Apache-2.0"
    made_by: str | None = Field(default=None, description="the card's command, when it takes more than this job")

    @model_validator(mode="after")
    def _ranks_fit(self) -> Self:
        if self.shipped_rank > self.rank:
            raise ValueError(f"shipped_rank {self.shipped_rank} is above rank {self.rank}: it cannot be cut to that")
        return self
