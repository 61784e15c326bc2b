"""API keys: how they look, what is kept of them, and how a presented one is checked.

A key is `rdc_<id>_<secret>`: 16 hex characters that name it and 43 URL-safe characters of secret. Kept are the id and
the SHA-256 of the secret. A plain hash is right here, where a password would need a slow salted one: the secret is 256
random bits, so no dictionary or table of hashes helps to guess it, and a slow hash would cost every request.

Promises: unknown, malformed and revoked keys take the same path (one hash, one constant-time comparison) to the same
error; no representation of anything here shows a secret or its hash.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import AuthenticationError
from gateway.settings import ModelName

# Names end up in listings on a terminal, so nothing that could move its cursor.
KEY_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._@+-]{0,63}$"
Scope = Literal["inference", "admin"]
_ID_PATTERN: Final = r"^[0-9a-f]{16}$"
_TEXT = re.compile(r"rdc_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_TEXT_LENGTH: Final = len("rdc_") + 16 + len("_") + 43


class KeyRecord(BaseModel):
    """What is kept of a key.

    A key is for requests to models or for administration (/admin/v1), never for both. `allowed_models` None means
    every model, `requests_per_minute` None the limit in the settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=_ID_PATTERN)]
    secret_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    name: Annotated[str, Field(pattern=KEY_NAME_PATTERN)]
    scope: Scope = "inference"
    allowed_models: tuple[ModelName, ...] | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    created: datetime
    revoked: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the only moment at which its text is known."""

    record: KeyRecord
    text: str = field(repr=False)


# Compared with when there is no such key; no secret has this hash.
_DECOY_SHA256: Final = "0" * 64
_DECOY_SECRET: Final = "-" * 43


def new_key(
    name: str,
    allowed_models: tuple[str, ...] | None = None,
    requests_per_minute: int | None = None,
    scope: Scope = "inference",
) -> NewKey:
    """Make a key from the system's randomness. Raises pydantic's ValidationError for a name or limit out of range."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    record = KeyRecord(
        id=key_id,
        secret_sha256=_sha256(secret),
        name=name,
        scope=scope,
        allowed_models=allowed_models,
        requests_per_minute=requests_per_minute,
        created=datetime.now(UTC).replace(microsecond=0),
    )
    return NewKey(record=record, text=f"rdc_{key_id}_{secret}")


def verified(presented: str | None, records: Mapping[str, KeyRecord]) -> KeyRecord:
    """The record of the key `presented`. Raises AuthenticationError, the same for whatever is wrong with it."""
    text = presented if presented is not None and len(presented) == _TEXT_LENGTH else ""
    match = _TEXT.fullmatch(text)
    key_id, secret = match.groups() if match else ("", _DECOY_SECRET)
    record = records.get(key_id)
    is_same = hmac.compare_digest(_sha256(secret), _DECOY_SHA256 if record is None else record.secret_sha256)
    if record is None or not is_same or record.revoked is not None:
        raise AuthenticationError(
            "the API key is missing or not valid; send it as `Authorization: Bearer <key>`",
            extra_headers=[("www-authenticate", "Bearer")],
        )
    return record


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
