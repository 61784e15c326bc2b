"""`router-training router train` from the command line, with the features encoder and with a tiny neural one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_core.bundle import load_bundle, question_hash
from router_core.table import TableRow, read_table, write_table
from router_training.__main__ import main
from router_training.routers.encoder import load_bundle_encoder

NEURAL = ("--max-tokens", "16")
ROUTERDC = ("--method", "routerdc", *NEURAL)
FROZEN = (*ROUTERDC, "--steps", "150", "--learning-rate", "0.01", "--cluster-source", "task", "--folds", "2")
FINE_TUNED = (*ROUTERDC, "--train-encoder", "--steps", "120", "--learning-rate", "0.005", "--batch-size", "32")


def train(table: Path, out: Path, *flags: str) -> int:
    return main(["router", "train", "--data", str(table), "--out", str(out), *flags])


def routed_accuracy(bundle_path: Path, table_path: Path) -> float:
    bundle, table = load_bundle(bundle_path), read_table(table_path)
    vectors, lost = load_bundle_encoder(bundle).encode(table.questions)
    choice = bundle.router.score(vectors, lost).ranking()[:, 0]
    columns = [table.models.index(model) for model in bundle.models]
    return float(np.mean(table.scores[:, columns][np.arange(len(table)), choice]))


@pytest.mark.parametrize("method", ["prior_residual", "task_prior", "knn", "ridge", "clusters", "cosine_classifier"])
def test_a_separable_pool_is_learned_exported_and_routed_right(
    method: str, separable_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(separable_table, tmp_path / "bundle", "--method", method, "--folds", "3") == 0
    assert routed_accuracy(tmp_path / "bundle", separable_table) >= 0.9  # every single model: at most 0.36
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.models == ("adder", "sorter", "reverser", "idler")
    assert manifest.scorer.name == method
    assert [entry.name for entry in manifest.data] == ["table.jsonl"]
    mean: Any = manifest.evaluation["mean"]
    assert mean["n"] == 108
    assert mean["routed"] > 0.7
    assert "routed" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [FROZEN, FINE_TUNED], ids=["frozen", "fine-tuned"])
def test_routerdc_is_learned_over_a_neural_encoder(
    separable_table: Path, tiny_encoder: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    assert train(separable_table, tmp_path / "bundle", "--encoder", str(tiny_encoder), *flags) == 0
    assert routed_accuracy(tmp_path / "bundle", separable_table) >= 0.95
    assert load_bundle(tmp_path / "bundle").manifest.scorer.name == "routerdc"


def test_a_fine_tuned_bundle_carries_its_encoder_and_no_path_of_this_machine(
    separable_table: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    flags = ("--encoder", str(tiny_encoder), *FINE_TUNED, "--steps", "2")
    assert train(separable_table, tmp_path / "b", *flags) == 0
    bundle = load_bundle(tmp_path / "b")
    assert bundle.encoder.name == "bundle:encoder"
    assert "scorer.projection.weight" not in bundle.tensors
    for file in (tmp_path / "b" / "encoder").rglob("*.json"):
        assert str(tiny_encoder) not in file.read_text(encoding="utf-8")


def test_an_exported_encoder_routes_as_torch_does(separable_table: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    flags = ("--encoder", str(tiny_encoder), "--max-tokens", "16", "--folds", "3", "--method", "task_prior")
    assert train(separable_table, tmp_path / "torch", *flags) == 0
    assert train(separable_table, tmp_path / "graph", *flags, "--export-encoder") == 0
    graph = load_bundle(tmp_path / "graph")
    assert graph.encoder.name == "bundle:encoder"
    export: Any = graph.manifest.training["export"]
    assert export
    accuracies = [routed_accuracy(tmp_path / name, separable_table) for name in ("torch", "graph")]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.01)


def test_the_default_needs_no_neural_library_and_knows_what_it_was_trained_on(
    separable_table: Path, tmp_path: Path
) -> None:
    assert train(separable_table, tmp_path / "b", "--folds", "3") == 0
    bundle = load_bundle(tmp_path / "b")
    assert bundle.features is not None
    assert bundle.manifest.scorer.name == "prior_residual"
    hashes = bundle.question_hashes
    assert hashes is not None
    assert question_hash("  ".join(read_table(separable_table).questions[0].split()).upper()) in hashes
    assert len(hashes) == 108
    assert bundle.manifest.abstention is not None


def test_a_log_without_tasks_is_clustered_and_routed(separable_table: Path, tmp_path: Path) -> None:
    rows = [row.model_copy(update={"task": None}) for row in read_table(separable_table).rows]
    write_table(tmp_path / "log.jsonl", rows)
    assert train(tmp_path / "log.jsonl", tmp_path / "b", "--folds", "3") == 0
    tasks: Any = load_bundle(tmp_path / "b").manifest.training["tasks"]
    assert len(tasks) >= 2
    assert routed_accuracy(tmp_path / "b", tmp_path / "log.jsonl") >= 0.8


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(separable_table: Path, tmp_path: Path) -> None:
    for name, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        assert train(separable_table, tmp_path / name, "--seed", seed, "--folds", "3", "--residuals", "none") == 0
    one, again, other = (load_bundle(tmp_path / name).digest for name in ("one", "again", "other"))
    assert one == again != other


def test_a_dry_run_writes_nothing(separable_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(separable_table, tmp_path / "b", "--dry-run") == 0
    assert not (tmp_path / "b").exists()
    assert "4 models: adder, sorter, reverser, idler" in capsys.readouterr().out


def test_a_yaml_file_and_flags_over_it(separable_table: Path, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        f"data: ['{separable_table}']\nresiduals: [knn]\nfolds: 4\nmax_regret: 0.05\n", encoding="utf-8"
    )
    out = tmp_path / "b"
    words = ["router", "train", "--config", str(tmp_path / "job.yaml"), "--out", str(out), "--folds", "3"]
    assert main(words) == 0
    training = json.loads((out / "router.json").read_text())["training"]
    assert (training["folds"], training["residuals"], training["max_regret"]) == (3, ["knn"], 0.05)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--folds", "1"), "--folds: "),
        (("--steps", "9"), "steps: belongs to --method routerdc"),
        (("--max-tokens", "64"), "max_tokens: belongs to a sentence encoder, see --encoder"),
        (("--method", "routerdc", "--residuals", "knn"), "residuals: belongs to --method prior_residual"),
        (("--method", "oracle"), "--method: "),
        (("--method", "routerdc", "--steps", "0"), "--steps: "),
        (("--method", "routerdc", "--k-positive", "3", "--k-negative", "2"), "is 3 + 2, but the tables score only 4"),
        (("--method", "routerdc", "--cluster-source", "table"), "cluster_source: table, but 108 of 108 rows have no"),
        (("--data", "none.jsonl"), "none.jsonl: no such file"),
        (("--folds", "20", "--method", "routerdc", "--train-encoder"), "train_encoder: belongs to a sentence encoder"),
    ],
)
def test_what_cannot_run_gives_one_clear_line(
    separable_table: Path, tmp_path: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(separable_table, tmp_path / "b", *flags) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--projection", "8", "--train-encoder"), "projection: belongs to a frozen encoder"),
        (("--max-tokens", "64"), "64 is more than the 32 that"),
        (("--learning-rate", "1e30", "--train-encoder", "--steps", "9"), "the loss is "),
    ],
)
def test_what_a_neural_encoder_cannot_do_gives_one_clear_line(
    separable_table: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(separable_table, tmp_path / "b", "--encoder", str(tiny_encoder), *ROUTERDC, *flags) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([{"a": 1.0}], "score 'a' alone; a router needs at least two models"),
        ([{"a": 1.0, "b": 0.0}], "model 'b' has no right answer in rows 1 to 40"),
        ([{"a": 1.0, "b": 1.0}], "credit every model 1: a single class, nothing to learn"),
    ],
)
def test_a_table_that_nothing_can_be_learned_from_is_refused(
    scores: list[dict[str, float]], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [TableRow(id=str(row), question=f"question {row}", scores=scores[row % len(scores)]) for row in range(40)]
    write_table(tmp_path / "t.jsonl", rows)
    assert train(tmp_path / "t.jsonl", tmp_path / "b") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("score", ["NaN", "null", "1.5"])
def test_a_score_that_is_none_names_its_row(score: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = '{"id": "1", "question": "q", "scores": {"a": 1.0, "b": 0.0}}'
    bad = f'{{"id": "2", "question": "r", "scores": {{"a": 1.0, "b": {score}}}}}'
    (tmp_path / "t.jsonl").write_text(f"{good}\n{bad}\n", encoding="utf-8")
    assert train(tmp_path / "t.jsonl", tmp_path / "b") == 2
    assert "t.jsonl: line 2: scores.b" in capsys.readouterr().err


def test_an_unknown_key_is_refused(separable_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.yaml").write_text(f"data: ['{separable_table}']\nout: b\nlamda: 2\n", encoding="utf-8")
    assert main(["router", "train", "--config", str(tmp_path / "job.yaml")]) == 2
    assert "lamda: unknown key" in capsys.readouterr().err


def test_an_encoder_that_is_not_there_is_named(
    separable_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert train(separable_table, tmp_path / "b", "--encoder", str(empty), *NEURAL) == 2
    assert str(empty) in capsys.readouterr().err.strip().splitlines()[-1]
