"""`router-training sft --config job.yaml [--dry-run] [--resume] [--seed N]`: train, cut, measure, publish.

Four steps, each of which can be done again: train the full-rank adapter (resumable), cut it to the shipped rank,
measure both on the check queries, and publish the cut adapter with its model card in one rename. The full-rank adapter
stays in `work`. `--resume` continues after the last checkpoint and runs the steps after it; when training had already
finished, only those. Leaves out: uploading, and full fine-tuning.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from router_core.errors import ModelCardError
from router_core.model_card import (
    DataSource,
    FileEntry,
    ModelCard,
    Parent,
    describe_file,
    describe_folder,
    digest_of_files,
    write_model_card,
)
from router_core.publish import publish_directory, publish_file
from router_training.errors import JobConfigError
from router_training.job_config import load_job_config
from router_training.sft.config import SftConfig
from router_training.sft.examples import Example, read_examples

_METHOD = "LoRA supervised fine-tuning, loss on the completions; cut to the served rank by SVD"
_NOT_RECIPE = {"work", "output", "check", "name", "base", "licence", "made_by"}
_FINISHED = "finished.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's own options."""
    parser.add_argument("--config", type=Path, required=True, help="the job's YAML")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")
    parser.add_argument("--resume", action="store_true", help="continue after the last checkpoint in work")
    parser.add_argument("--seed", type=int, help="instead of the seed of the config")


def run(args: argparse.Namespace) -> int:
    """Do the job. Raises errors of this package and of router_core."""
    flags = {} if args.seed is None else {"seed": args.seed}
    config = load_job_config(SftConfig, args.config, flags)
    _require_base(config)
    examples = read_examples(config.data)
    passes = config.steps * config.batch_size / len(examples)
    print(
        f"{config.name}: {len(examples)} examples, {config.steps} steps of {config.batch_size} ({passes:.2f} passes), "
        f"rank {config.rank} cut to {config.shipped_rank}",
        flush=True,
    )
    if args.dry_run:
        print(config.model_dump_json(indent=2))
        return 0
    command = f"router-training sft --config {args.config}" + ("" if args.seed is None else f" --seed {args.seed}")
    full_rank = _trained(config, examples, command, resume=args.resume)
    _publish(config, full_rank, command)
    return 0


def _require_base(config: SftConfig) -> None:
    if not (config.base / "config.json").is_file():
        raise JobConfigError(f"base: {config.base} holds no model (no config.json): make it or name another folder")


def _trained(config: SftConfig, examples: list[Example], command: str, *, resume: bool) -> Path:
    """The full-rank adapter: the finished one when resuming after the end, else trained now."""
    from router_training.sft.train import FULL_RANK, train_adapter

    marker = config.work / _FINISHED
    wanted = {"steps": config.steps, "seed": config.seed}
    if resume and marker.is_file() and json.loads(marker.read_text()) == wanted:
        print(f"{config.name}: training is finished; continuing after it", flush=True)
        return config.work / FULL_RANK
    try:
        folder = train_adapter(config, examples, resume=resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with: {command} --resume") from None
    publish_file(marker, json.dumps(wanted).encode())
    return folder


def _publish(config: SftConfig, full_rank: Path, command: str) -> None:
    """Cut, measure, and put adapter and card in place."""
    from router_training.sft.cut import cut_adapter
    from router_training.sft.measure import accuracy_by_task, queries_to_check
    from router_training.sft.train import compute_dtype

    with publish_directory(config.output) as draft:
        cut = cut_adapter(full_rank, draft, config.shipped_rank, base_name=config.base.name)
        print(f"{config.name}: rank {cut.rank} keeps {cut.energy_kept:.3f} of the energy", flush=True)
        dtype = compute_dtype(config)
        evaluation: dict[str, Any] = {"energy_kept": round(cut.energy_kept, 4)}
        if queries := queries_to_check(config):
            before = accuracy_by_task(config, full_rank, queries, dtype)
            after = accuracy_by_task(config, draft, queries, dtype)
            evaluation |= {"queries": len(queries), "accuracy_full_rank": before, "accuracy_shipped": after}
            print(f"{config.name}: accuracy at rank {config.rank} {before}, as shipped {after}", flush=True)
        files = describe_folder(draft)
        write_model_card(
            draft / "card.json", _card(config, files, evaluation, command, str(dtype).removeprefix("torch."))
        )
    print(f"{config.name}: published in {config.output}", flush=True)


def _card(
    config: SftConfig, files: dict[str, FileEntry], evaluation: dict[str, Any], command: str, dtype: str
) -> ModelCard:
    base_files = {
        path.name: describe_file(path) for path in sorted(config.base.glob("*.safetensors")) if path.is_file()
    }
    if not base_files:
        raise ModelCardError(f"{config.base}: holds no safetensors weights to name as the parent")
    template = config.base / "chat_template.jinja"
    rows = [sum(1 for line in path.read_text(encoding="utf-8").split("\n") if line.strip()) for path in config.data]
    return ModelCard(
        name=config.name,
        kind="lora",
        base=config.base.name,
        parents=(Parent(name=config.base.name, digest=digest_of_files(base_files)),),
        method=_METHOD,
        recipe=config.model_dump(mode="json", exclude=_NOT_RECIPE) | {"compute_dtype": dtype},
        data=tuple(
            DataSource(name=str(path), sha256=describe_file(path).sha256, rows=count)
            for path, count in zip(config.data, rows, strict=True)
        ),
        seed=config.seed,
        rank=config.shipped_rank,
        files=files,
        digest=digest_of_files(files),
        licence=config.licence,
        prompt_template=template.read_text(encoding="utf-8") if template.is_file() else None,
        command=config.made_by or command,
        evaluation=evaluation,
    )
