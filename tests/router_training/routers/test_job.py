"""`router-training router train` from the command line, on a tiny encoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_core.bundle import load_bundle
from router_core.scoring import scorer_from_bundle
from router_core.table import read_table
from router_training.__main__ import main
from router_training.routers.encoder import load_bundle_encoder


def train(table: Path, encoder: Path, out: Path, *flags: str) -> int:
    basics = ["--data", str(table), "--encoder", str(encoder), "--out", str(out), "--max-tokens", "16"]
    return main(["router", "train", *basics, *flags])


def routed_accuracy(bundle_path: Path, table_path: Path) -> float:
    bundle, table = load_bundle(bundle_path), read_table(table_path)
    vectors = load_bundle_encoder(bundle).embed(table.questions)
    choice = scorer_from_bundle(bundle).score(vectors).ranking()[:, 0]
    columns = [table.models.index(model) for model in bundle.models]
    return float(np.mean(table.scores[:, columns][np.arange(len(table)), choice]))


FROZEN = ("--steps", "300", "--learning-rate", "0.01", "--cluster-source", "task")
FINE_TUNED = ("--train-encoder", "--steps", "120", "--learning-rate", "0.005", "--batch-size", "32")


@pytest.mark.parametrize("flags", [FROZEN, FINE_TUNED], ids=["frozen", "fine-tuned"])
def test_a_separable_pool_is_learned_exported_and_routed_right(
    separable_table: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(separable_table, tiny_encoder, tmp_path / "bundle", *flags) == 0
    assert routed_accuracy(tmp_path / "bundle", separable_table) >= 0.95  # every single model: at most 1/3
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.models == ("adder", "sorter", "reverser", "idler")
    assert [entry.name for entry in manifest.data] == ["table.jsonl"]
    assert manifest.training["k_positive"] == 2
    mean: Any = manifest.evaluation["mean"]
    assert mean["n"] >= 9
    assert "routed" in capsys.readouterr().out


def test_a_fine_tuned_bundle_carries_its_encoder_and_no_path_of_this_machine(
    separable_table: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    assert train(separable_table, tiny_encoder, tmp_path / "b", *FINE_TUNED, "--steps", "2") == 0
    bundle = load_bundle(tmp_path / "b")
    assert bundle.encoder.name == "bundle:encoder"
    assert bundle.manifest.parents[0].digest != bundle.encoder.digest
    assert bundle.weights.projection_weight is None
    for file in (tmp_path / "b" / "encoder").rglob("*.json"):
        assert str(tiny_encoder) not in file.read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(
    separable_table: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    for name, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        assert train(separable_table, tiny_encoder, tmp_path / name, "--steps", "5", "--seed", seed) == 0
    one, again, other = (load_bundle(tmp_path / name).digest for name in ("one", "again", "other"))
    assert one == again != other


def test_a_dry_run_writes_nothing(
    separable_table: Path, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(separable_table, tiny_encoder, tmp_path / "b", "--dry-run") == 0
    assert not (tmp_path / "b").exists()
    assert "4 models: adder, sorter, reverser, idler" in capsys.readouterr().out


def test_a_yaml_file_and_flags_over_it(separable_table: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        f"data: ['{separable_table}']\nencoder: {tiny_encoder}\nsteps: 900\nmax_tokens: 16\n", encoding="utf-8"
    )
    out = tmp_path / "b"
    words = ["router", "train", "--config", str(tmp_path / "job.yaml"), "--out", str(out), "--steps", "3"]
    assert main(words) == 0
    assert json.loads((out / "router.json").read_text())["training"]["steps"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--steps", "0"), "--steps: "),
        (("--k-positive", "3", "--k-negative", "2"), "k_positive + k_negative is 3 + 2, but the tables score only 4"),
        (("--cluster-source", "table"), "cluster_source: table, but 108 of 108 rows have no cluster_id"),
        (("--projection", "8", "--train-encoder"), "projection: belongs to a frozen encoder"),
        (("--data", "none.jsonl"), "none.jsonl: no such file"),
        (("--max-tokens", "64"), "64 is more than the 32 that"),
        (("--learning-rate", "1e30", "--train-encoder", "--steps", "9"), "the loss is "),
    ],
)
def test_what_cannot_run_gives_one_clear_line(
    separable_table: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(separable_table, tiny_encoder, tmp_path / "b", *flags) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert not (tmp_path / "b").exists()


def test_an_unknown_key_is_refused(separable_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.yaml").write_text(f"data: ['{separable_table}']\nout: b\nlamda: 2\n", encoding="utf-8")
    assert main(["router", "train", "--config", str(tmp_path / "job.yaml")]) == 2
    assert "lamda: unknown key" in capsys.readouterr().err


def test_an_encoder_that_is_not_there_is_named(
    separable_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert train(separable_table, empty, tmp_path / "b") == 2
    assert str(empty) in capsys.readouterr().err.strip().splitlines()[-1]
