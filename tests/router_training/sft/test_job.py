import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from router_core.model_card import verify_model_card
from router_training.errors import JobConfigError, TrainingError
from router_training.sft.job import add_arguments, run

STEPS = 6
STEPS_TO_KILL = 120  # enough for a kill to come before the end


@pytest.fixture
def job(tmp_path: Path, tiny_base: Path) -> Path:
    """The YAML of a job that teaches the tiny model to answer "yes"."""
    (tmp_path / "data.jsonl").write_text(
        "".join(json.dumps({"prompt": f"say yes {n}", "completion": "yes"}) + "\n" for n in range(24))
    )
    answer = {"kind": "exact", "value": "yes"}
    (tmp_path / "check.jsonl").write_text(
        json.dumps({"id": "q", "question": "say yes", "task": "yes", "answer": answer, "template": "t"}) + "\n"
    )
    options: dict[str, Any] = {
        "name": "tiny-yes",
        "base": str(tiny_base),
        "data": [str(tmp_path / "data.jsonl")],
        "work": str(tmp_path / "work"),
        "output": str(tmp_path / "out"),
        "check": str(tmp_path / "check.jsonl"),
        "check_max_new_tokens": 4,
        "steps": STEPS,
        "batch_size": 4,
        "warmup_steps": 1,
        "rank": 4,
        "alpha": 8,
        "shipped_rank": 2,
        "save_every_steps": 2,
        "compute_dtype": "float32",
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


def change(job: Path, **options: Any) -> None:
    job.write_text(yaml.safe_dump({**yaml.safe_load(job.read_text()), **options}))


def sft(job: Path, *flags: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(["--config", str(job), *flags]))


def test_a_job_publishes_a_cut_adapter_with_a_card_that_verifies(job: Path, tmp_path: Path) -> None:
    assert sft(job, "--seed", "3") == 0
    card = verify_model_card(tmp_path / "out")
    assert (card.name, card.kind, card.rank, card.seed) == ("tiny-yes", "lora", 2, 3)
    assert card.command == f"router-training sft --config {job} --seed 3"
    assert set(card.files) == {"adapter_model.safetensors", "adapter_config.json"}
    assert card.parents[0].name == "tiny"
    assert card.data[0].rows == 24
    assert set(card.evaluation) == {"energy_kept", "queries", "accuracy_full_rank", "accuracy_shipped"}
    assert card.evaluation["accuracy_full_rank"].keys() == {"yes"}


def test_a_killed_run_resumes_to_the_same_adapter(job: Path, tmp_path: Path) -> None:
    change(job, steps=STEPS_TO_KILL)
    sft(job)
    whole = load_file(tmp_path / "work" / "adapter-full-rank" / "adapter_model.safetensors")

    change(job, work=str(tmp_path / "killed"))
    checkpoints = tmp_path / "killed" / "checkpoints"
    process = subprocess.Popen([sys.executable, "-m", "router_training", "sft", "--config", str(job)])
    try:
        while not any(checkpoints.glob("checkpoint-*/trainer_state.json")):
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "killed" / "adapter-full-rank").exists()

    assert sft(job, "--resume") == 0
    state = json.loads((checkpoints / f"checkpoint-{STEPS_TO_KILL}" / "trainer_state.json").read_text())
    assert state["global_step"] == STEPS_TO_KILL
    resumed = load_file(tmp_path / "killed" / "adapter-full-rank" / "adapter_model.safetensors")
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, rtol=1e-3, atol=1e-4)


def test_without_resume_an_earlier_runs_checkpoints_are_not_overwritten(job: Path) -> None:
    sft(job)
    with pytest.raises(TrainingError, match="--resume"):
        sft(job)


def test_resuming_after_the_end_only_publishes_again(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sft(job)
    first = verify_model_card(tmp_path / "out")
    assert sft(job, "--resume") == 0
    assert "training is finished" in capsys.readouterr().out
    assert verify_model_card(tmp_path / "out") == first


def test_nothing_to_resume(job: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint to resume"):
        sft(job, "--resume")


def test_a_dry_run_trains_nothing(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sft(job, "--dry-run") == 0
    assert "tiny-yes: 24 examples, 6 steps of 4 (1.00 passes), rank 4 cut to 2" in capsys.readouterr().out
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stepps": 3}, "stepps: unknown key; did you mean 'steps'"),
        ({"shipped_rank": 9}, "shipped_rank 9 is above rank 4"),
        ({"base": "/nowhere"}, "/nowhere holds no model"),
        ({"steps": 0}, "steps"),
    ],
)
def test_a_bad_config_is_named(job: Path, options: dict[str, Any], named: str) -> None:
    change(job, **options)
    with pytest.raises(JobConfigError, match=named):
        sft(job)
