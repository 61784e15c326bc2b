"""What `router-training pool score` can be told, and what of it shapes a reply."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from router_training.job_config import UNQUOTED


class PoolScoreConfig(BaseModel):
    """One scoring run. Every field is a flag of the same name and a key of the YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: Path = Field(description="Query file: JSON Lines, .gz allowed.")
    endpoint: str = Field(description="Root of an OpenAI-compatible API; /v1 is added to a URL without a path.")
    models: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="Served names, comma-separated; their order is the order of the table's columns."
    )
    out: Path = Field(description="The training table to write: JSON Lines; .gz compresses.")
    journal: Path | None = Field(None, description="Where answers are kept as they come. Default: OUT.journal.jsonl")
    samples: int = Field(
        1, ge=1, description="Answers drawn per query and model; the score is the share of right ones."
    )
    concurrency: int = Field(8, ge=1, le=4096, description="Requests under way at once, over all models.")
    temperature: float = Field(0.0, ge=0.0, le=2.0, description="Sampling temperature; 0 is greedy.")
    max_tokens: int = Field(256, ge=1, description="Longest answer, in tokens.")
    seed: int = Field(0, ge=0, description="Sample k is asked for with seed SEED + k when the temperature is above 0.")
    timeout_s: float = Field(120.0, gt=0, description="Deadline for one request, from connect to the last byte.")
    retries: int = Field(5, ge=0, description="Further tries after 408, 409, 425, 429, 5xx, time-out, lost connection.")
    api_key_env: str | None = Field(None, min_length=1, description="Environment variable that holds the API key.")
    limit: int | None = Field(None, ge=1, description="Only the first LIMIT queries of the file.")

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an http(s) URL such as http://127.0.0.1:8101/v1")
        if parts.username or parts.password:
            raise PydanticCustomError(UNQUOTED, "holds credentials; name the key's variable with --api-key-env")
        root = value.rstrip("/")
        return root if parts.path.strip("/") else root + "/v1"

    @field_validator("models", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        repeated = sorted({name for name in self.models if self.models.count(name) > 1})
        if repeated:
            raise ValueError(f"models: {', '.join(repeated)} named twice")
        if self.journal_path == self.out:
            raise ValueError("journal: must not be the table itself")
        return self

    @property
    def journal_path(self) -> Path:
        """Where the answers are kept as they come."""
        return self.journal or self.out.with_name(self.out.name + ".journal.jsonl")
