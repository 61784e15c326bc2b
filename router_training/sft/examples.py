"""Training examples: JSON Lines of prompt and completion -> token ids and the labels that carry the loss.

The prompt is rendered by the base model's own chat template, as the server will render it. The loss falls on the
completion and on the end-of-turn token after it, which is how a model learns to stop. The end token doubles as padding
in many tokenizers, so padding is masked by length (the collator's work), never by id.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_training.errors import DataError

IGNORED_LABEL = -100


class Example(BaseModel):
    """One prompt of a user and the completion to learn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    completion: str = Field(min_length=1)


def read_examples(paths: Iterable[Path]) -> list[Example]:
    """Every example of the files, in order. Raises DataError naming the file and the line."""
    examples: list[Example] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        examples += [_parsed(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]
    if not examples:
        raise DataError(f"no example in {', '.join(str(path) for path in paths)}")
    return examples


def _parsed(line: str, path: Path, number: int) -> Example:
    try:
        return Example.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DataError(f"{path}: line {number}: {place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: line {number}: not valid JSON: {error}") from error


def render_prompt(tokenizer: Any, prompt: str) -> str:
    """The text a server makes of one user turn, up to where the model's answer starts."""
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return text


def tokenize_example(tokenizer: Any, example: Example, max_tokens: int) -> dict[str, list[int]]:
    """`input_ids` and `labels` of one example. Raises DataError if it is longer than `max_tokens`."""
    prompt_ids = tokenizer(render_prompt(tokenizer, example.prompt), add_special_tokens=False)["input_ids"]
    completion_ids = tokenizer(example.completion, add_special_tokens=False)["input_ids"]
    completion_ids = [*completion_ids, tokenizer.eos_token_id]
    length = len(prompt_ids) + len(completion_ids)
    if length > max_tokens:
        raise DataError(f"an example of {length} tokens is longer than max_tokens {max_tokens}: raise it or drop it")
    return {
        "input_ids": [*prompt_ids, *completion_ids],
        "labels": [IGNORED_LABEL] * len(prompt_ids) + completion_ids,
    }
