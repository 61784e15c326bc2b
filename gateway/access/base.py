"""Who is asking, once it has been established."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. Without keys every caller is ANONYMOUS.

    `allowed_models` None means every model; `requests_per_minute` None means no limit.
    """

    key_id: str | None = None
    allowed_models: frozenset[str] | None = None
    requests_per_minute: int | None = None


ANONYMOUS = Principal()
