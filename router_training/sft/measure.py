"""Greedy accuracy of an adapter on a few verifiable queries, with transformers: the check before and after the cut.

A quick check of the job's own work, on wordings the router is trained on, never on held-out ones. The pool's real
scores come from the serving engine (`router-training pool score`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from router_core.answers import is_right
from router_core.table import Query, read_queries
from router_training.errors import DataError
from router_training.sft.config import SftConfig
from router_training.sft.examples import render_prompt

_BATCH = 16


def queries_to_check(config: SftConfig) -> list[Query]:
    """The first `check_items_per_task` queries of each task to check. Raises DataError, TableError."""
    if config.check is None:
        return []
    queries = read_queries(config.check)
    tasks = config.check_tasks or tuple(dict.fromkeys(query.task for query in queries))
    chosen = []
    for task in tasks:
        of_task = [query for query in queries if query.task == task]
        if not of_task:
            raise DataError(f"{config.check}: holds no query of task {task!r} (check_tasks)")
        chosen += of_task[: config.check_items_per_task]
    return chosen


def accuracy_by_task(
    config: SftConfig, adapter: Path | None, queries: Sequence[Query], dtype: torch.dtype
) -> dict[str, float]:
    """Share of right greedy answers per task, with `adapter` on the base, or the base alone."""
    tokenizer = AutoTokenizer.from_pretrained(config.base, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(config.base, dtype=dtype, attn_implementation="eager")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.eval()
    right: dict[str, list[bool]] = {}
    for query, reply in zip(queries, _replies(model, tokenizer, queries, config), strict=True):
        right.setdefault(query.task, []).append(is_right(query.answer, reply))
    return {task: round(sum(marks) / len(marks), 4) for task, marks in right.items()}


def _replies(model: Any, tokenizer: Any, queries: Sequence[Query], config: SftConfig) -> list[str]:
    replies: list[str] = []
    for start in range(0, len(queries), _BATCH):
        prompts = [render_prompt(tokenizer, query.question) for query in queries[start : start + _BATCH]]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
        with torch.inference_mode():
            output = model.generate(**encoded, max_new_tokens=config.check_max_new_tokens, do_sample=False)
        prompt_tokens = encoded["input_ids"].shape[1]
        replies += tokenizer.batch_decode(output[:, prompt_tokens:], skip_special_tokens=True)
    return replies
