"""Reads the few fields of a request that the gateway owns, and leaves the others as they came.

The top level is decoded to raw values. Where the server knows the model by the name that the client gave, the body
travels on as it came; else the top level is written anew around values that keep their bytes, down to the spacing. It
is also written anew where a key may stand twice, which leaves each once: what was authorised is what is sent, even if
a client wrote `model` twice. Only a request that is to be routed, or whose cost is capped, has its text read.

Leaves out whether the values are right: that is the model's server to say. Numbers are not even looked at.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.access.base import Principal
from gateway.errors import MalformedBodyError, RequestError
from gateway.http.dials import read_dial
from gateway.http.endpoints import Endpoint
from gateway.routing.base import NO_DIAL, Need, RoutingRequest
from router_core.query import ask_of_messages, ask_of_prompt

CHARACTERS_PER_TOKEN = 4
MAX_MODEL_CHARACTERS = 256
_STRUCTURED_FIELDS = frozenset({"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"})
_FIELDS_OF_NEEDS = _STRUCTURED_FIELDS | {"tools", "functions", "response_format"}
_NEED_OF_PART: dict[str, Need] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
}
# What is read before a decision; reading more would hold up every other request.
_MOST_ELEMENTS = 100_000
# What is larger than this is neither an empty value nor a name.
_MOST_SCALAR_BYTES = 4096
# A count of tokens or answers beyond this is none.
_MOST_COUNTED = 2**31
# In a longer body, looking for keys that stand twice would cost more than writing it anew.
_MOST_SEARCHED_BYTES = 64 * 1024
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Peek(msgspec.Struct, frozen=True):
    """A request's body, its top level, and what the gateway needs to know of it."""

    body: bytes
    fields: dict[str, msgspec.Raw]
    model: str
    is_stream: bool

    def body_for(self, served_name: str) -> bytes:
        """The body to send to a server that knows the model as `served_name`."""
        anew = _encode({**self.fields, "model": served_name})
        # Where it has the length of what came, nothing but spacing can have been left out, and there was none.
        if len(anew) == len(self.body) or served_name != self.model or not self._has_each_key_once():
            return anew
        return self.body

    def _has_each_key_once(self) -> bool:
        """False if a key may stand twice at the top level. A key can be written with escapes, so those are suspect."""
        body = self.body
        if len(body) > _MOST_SEARCHED_BYTES or b"\\u00" in body:
            return False
        for key in self.fields:  # noqa: SIM110 - a generator would double the time
            if body.count(f'"{key}"'.encode()) != 1:
                return False
        return True


def peek(body: bytes) -> Peek:
    """Read the top level. Raises MalformedBodyError, or RequestError that names the field at fault."""
    try:
        if not body.isascii():
            body.decode()
        fields = _decode_fields(body)
    except (msgspec.ValidationError, RecursionError):
        raise MalformedBodyError("the body must be a JSON object, not nested beyond reason") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedBodyError("the body is not valid JSON in UTF-8") from None
    model = _value(fields, "model")
    if not isinstance(model, str) or not model:
        raise RequestError("give `model` as a string: a served model's name, or one to be routed", param="model")
    if len(model) > MAX_MODEL_CHARACTERS:
        raise RequestError(f"`model` is longer than {MAX_MODEL_CHARACTERS} characters", param="model")
    stream = _value(fields, "stream")
    if not isinstance(stream, bool | None):
        raise RequestError("`stream` must be true or false", param="stream")
    return Peek(body, fields, model, bool(stream))


def routing_request(
    seen: Peek, endpoint: Endpoint, principal: Principal, headers: Mapping[str, str], *, is_routed: bool
) -> RoutingRequest:
    """What routing may know. The text is read if `is_routed` or capped in cost.

    Raises RequestError for a text or a dial that cannot be read.
    """
    dial = read_dial(headers, principal)
    if endpoint.ask_field is None:
        # Nothing is generated that could be weighed.
        dial = NO_DIAL
    if not is_routed and dial.cap is None:
        return RoutingRequest(ask="", key_id=principal.key_id, allowed_models=principal.allowed_models, headers=headers)
    text = _Text(0, "", frozenset())
    if endpoint.ask_field is not None:
        text = _read_text(endpoint.ask_field, seen.fields)
    return RoutingRequest(
        ask=text.ask,
        needs=text.needs | _needs_of_fields(seen.fields),
        prompt_tokens=text.tokens,
        further_prompt_tokens=text.further_tokens,
        max_tokens=_count(seen.fields, *endpoint.limits),
        answers=text.prompts * max(_count(seen.fields, name) or 1 for name in ("n", "best_of")),
        session_id=headers.get("x-session-id"),
        key_id=principal.key_id,
        allowed_models=principal.allowed_models,
        headers=headers,
        dial=dial,
    )


def read_ask(seen: Peek, endpoint: Endpoint) -> str:
    """The text to route by; "" where there is none, or none that can be read."""
    if endpoint.ask_field is None:
        return ""
    try:
        return _read_text(endpoint.ask_field, seen.fields).ask
    except RequestError:
        return ""


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None


class _Message(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | list[_Part | str] | None = None


# By types, so that what is nothing of the kind fails at its first element instead of being built in full.
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_part = msgspec.json.Decoder(_Part).decode
_decode_prompt = msgspec.json.Decoder(str | list[str | int | list[int]] | None).decode


class _Text(msgspec.Struct, frozen=True):
    tokens: int
    ask: str
    needs: frozenset[Need]
    prompts: int = 1
    further_tokens: int = 0


def _read_text(field: str, fields: dict[str, msgspec.Raw]) -> _Text:
    raw = bytes(fields.get(field, b"null"))
    is_list = raw[:1] == b"["
    if not is_list and field != "prompt" and raw[:1] != b'"':
        raise RequestError(f"`{field}` must be a list", param=field)
    try:
        if is_list and raw.count(b"," if field == "prompt" else b"{") > _MOST_ELEMENTS:
            return _unread(raw)
        if is_list and field != "prompt":
            return _text_of_messages(_decode_messages(raw))
        return _text_of_prompt(_decode_prompt(raw))
    except msgspec.ValidationError:
        return _unread(raw)
    except (msgspec.MsgspecError, RecursionError):
        raise _unreadable(field) from None


def _unread(raw: bytes) -> _Text:
    """What stands for a text in no form that is known: nothing to route by, and as long as its bytes."""
    return _Text(len(raw) // CHARACTERS_PER_TOKEN, "", frozenset())


def _text_of_messages(messages: list[_Message]) -> _Text:
    characters, needs = 0, set[Need]()
    for message in messages:
        content = message.content
        if isinstance(content, str):
            characters += len(content)
        elif content is not None:
            for part in content:
                if isinstance(part, str):
                    characters += len(part)
                    continue
                characters += len(part.text or "")
                if part.type in _NEED_OF_PART:
                    needs.add(_NEED_OF_PART[part.type])
    return _Text(characters // CHARACTERS_PER_TOKEN, _ask_of(messages), frozenset(needs))


def _ask_of(messages: list[_Message]) -> str:
    for message in reversed(messages):
        if message.role == "user":
            content: Any = message.content
            if isinstance(content, list):
                content = [{"type": part.type, "text": part.text} for part in content if isinstance(part, _Part)]
            return ask_of_messages([{"role": "user", "content": content}])
    return ""


def _text_of_prompt(value: Any) -> _Text:
    """A prompt may be text, token ids, or a batch of either; the first of a batch stands for it."""
    is_batch = isinstance(value, list) and bool(value) and not isinstance(value[0], int)
    lengths = [_prompt_tokens(prompt) for prompt in (value if is_batch else [value])]
    return _Text(lengths[0], ask_of_prompt(value), frozenset(), len(lengths), sum(lengths[1:]))


def _prompt_tokens(prompt: Any) -> int:
    if isinstance(prompt, list):
        return len(prompt)
    return len(prompt) // CHARACTERS_PER_TOKEN if isinstance(prompt, str) else 0


def _needs_of_fields(fields: dict[str, msgspec.Raw]) -> frozenset[Need]:
    if _FIELDS_OF_NEEDS.isdisjoint(fields):
        return frozenset()
    needs: set[Need] = set()
    if _is_given(fields, "tools") or _is_given(fields, "functions"):
        needs.add("tools")
    if "response_format" in fields and _is_form(fields["response_format"]):
        needs.add("structured_output")
    if any(_is_given(fields, name) for name in _STRUCTURED_FIELDS.intersection(fields)):
        needs.add("structured_output")
    return frozenset(needs)


def _is_given(fields: dict[str, msgspec.Raw], name: str) -> bool:
    """Whether a field is there and not empty."""
    raw = fields.get(name)
    return raw is not None and (len(memoryview(raw)) > _MOST_SCALAR_BYTES or bool(_value(fields, name)))


def _is_form(response_format: msgspec.Raw) -> bool:
    try:
        return _decode_part(response_format).type != "text"
    except (msgspec.MsgspecError, RecursionError):
        return False


def _count(fields: dict[str, msgspec.Raw], *names: str) -> int | None:
    """The first of the fields that holds a positive whole number."""
    for name in names:
        value = _value(fields, name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            if value > _MOST_COUNTED:
                raise RequestError(f"`{name}` is beyond {_MOST_COUNTED}", param=name)
            return value
    return None


def _value(fields: dict[str, msgspec.Raw], name: str) -> Any:
    """The decoded value of a field that is a scalar; None if it is absent."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        if len(memoryview(raw)) <= _MOST_SCALAR_BYTES:
            return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        pass
    raise _unreadable(name)


def _unreadable(name: str) -> RequestError:
    return RequestError(f"`{name}` holds a value that cannot be read", param=name)
