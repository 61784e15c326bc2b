"""Who is asking, once it has been established."""

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """The caller. Without keys every caller is ANONYMOUS.

    `allowed_models` None means every model; `requests_per_minute` None means no limit. `quality` and `max_cost` are the
    key's cost-quality dial (`access.dials`), None where it has none.
    """

    key_id: str | None = None
    allowed_models: frozenset[str] | None = None
    requests_per_minute: int | None = None
    quality: float | None = None
    max_cost: float | None = None

    @property
    def has_no_dial(self) -> bool:
        """True if the key has no cost-quality dial."""
        return self.quality is None and self.max_cost is None


ANONYMOUS = Principal()
