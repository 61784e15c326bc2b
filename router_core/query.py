"""Which text of a request is "the ask": the one string that the router's encoder reads.

The router is trained on single questions, so the ask is the last thing the user said; system prompts, earlier turns and
images are left out (a session rule, not the router, gives a conversation its memory). Both functions are total: a
body of any shape gives a string, "" where there is no user text, and the caller then takes its declared default.

Leaves out: truncation. The encoder cuts the ask to the bundle's `max_tokens` from its `truncation_side`.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def ask_of_messages(messages: Sequence[Any]) -> str:
    """The text of the last user message of /v1/chat/completions; "" if there is none.

    Content parts of type "text" (or "input_text", as /v1/responses calls them) are joined with a newline; others,
    such as images, are skipped.
    """
    for message in reversed(messages):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return _text_of_content(message.get("content"))
    return ""


def ask_of_prompt(prompt: Any) -> str:
    """The text of a /v1/completions prompt: the string, or the first of a list of strings; "" for token ids."""
    if isinstance(prompt, list) and prompt:
        prompt = prompt[0]
    return prompt if isinstance(prompt, str) else ""


def _text_of_content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [
        part["text"]
        for part in content
        if isinstance(part, Mapping)
        and part.get("type") in ("text", "input_text")
        and isinstance(part.get("text"), str)
    ]
    return "\n".join(texts)
