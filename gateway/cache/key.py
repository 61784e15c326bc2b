"""What an answer is kept under: everything that its bytes may depend on.

The key's id comes first, so no tenant reaches another's answers; then endpoint, model and body. A body counts by what
it says: the order of its fields and its spacing do not matter, numbers are equal if they are the same number in the
same form (1 and 1.0 are not), and every field counts but those of IGNORED, which tell who asks and not what.
What of a body goes beyond MOST_READ_BYTES counts by its bytes, since reading it would hold up every other request.
`stream` and `stream_options` count, so a stream is answered with a stream and a whole answer with a whole one.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

IGNORED: Final = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key"})
MOST_READ_BYTES: Final = 64 * 1024
_encode = msgspec.json.Encoder(order="deterministic").encode


def answer_key(
    *, key_id: str | None, path: str, model: str, served_name: str, fields: Mapping[str, msgspec.Raw]
) -> str | None:
    """SHA-256 in hex; None for a body with a value that cannot be compared, such as a number beyond a double.

    `model` is the model that answers, `served_name` its name upstream; `fields` is the body's top level.
    """
    said: dict[str, Any] = {}
    long: dict[str, str] = {}
    room = MOST_READ_BYTES
    try:
        # In order, so that which values are too long does not depend on the client's.
        for name in sorted(fields):
            if name in IGNORED or name == "model":
                continue
            raw = fields[name]
            room -= len(memoryview(raw))
            if room >= 0:
                said[name] = msgspec.json.decode(raw)
            else:
                long[name] = hashlib.sha256(raw).hexdigest()
        text = _encode((key_id, path, model, served_name, said, long))
    except (msgspec.MsgspecError, RecursionError):
        return None
    return hashlib.sha256(text).hexdigest()
