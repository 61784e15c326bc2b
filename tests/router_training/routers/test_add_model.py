"""`router-training router add-model` from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from router_core.bundle import load_bundle
from router_core.table import TableRow, write_table
from router_training.__main__ import main
from router_training.routers.adding.calibration import FEWEST_PROBES
from tests.support.small_bundle import small_bundle

DIGITS = [f"What is {a} + {b}?" for a in range(10) for b in range(20)]
WORDS = [f"What is love, {name}?" for name in (chr(97 + i % 26) * (1 + i // 26) for i in range(200))]


def probes(path: Path, count: int, *, others: bool = False) -> Path:
    """The new model is right on words and wrong on digits."""
    rows = []
    for number in range(count):
        is_word = number % 2
        question = (WORDS if is_word else DIGITS)[number // 2]
        scores = {"llm-new": float(is_word)}
        if others:
            scores |= {"llm-a": 1.0 - is_word, "llm-b": 0.5}
        rows.append(TableRow(id=str(number), question=question, task="words" if is_word else "digits", scores=scores))
    write_table(path, rows)
    return path


def add(tmp_path: Path, data: Path, *flags: str, model: str = "llm-new") -> int:
    words = ["--bundle", str(tmp_path / "old"), "--data", str(data), "--model", model, "--out", str(tmp_path / "new")]
    return main(["router", "add-model", *words, *flags])


def test_an_added_model_is_chosen_where_its_probes_were_right(tmp_path: Path) -> None:
    old = small_bundle(tmp_path / "old")
    assert add(tmp_path, probes(tmp_path / "p.jsonl", 200)) == 0
    new = load_bundle(tmp_path / "new")
    assert new.models == ("llm-a", "llm-b", "llm-new")
    assert new.manifest.calibration.pending == ()
    assert new.features is not None
    ranking = new.router.score(*new.features.encode(["What is 3 + 4?", "What is love, dear?"])).ranking()
    assert [new.models[index] for index in ranking[:, 0]] == ["llm-a", "llm-new"]
    assert old.digest in {parent.digest for parent in new.manifest.parents}


def test_everything_but_the_new_row_is_frozen(tmp_path: Path) -> None:
    old = small_bundle(tmp_path / "old")
    assert add(tmp_path, probes(tmp_path / "p.jsonl", 80)) == 0
    new = load_bundle(tmp_path / "new")
    for name, tensor in old.tensors.items():
        if name == "training.question_hashes":
            continue
        kept = new.tensors[name]
        if kept.shape != tensor.shape:
            kept = kept[..., : tensor.shape[-1]]
        np.testing.assert_array_equal(kept, tensor, err_msg=name)


def test_with_few_probes_the_model_waits_and_is_ranked_last(tmp_path: Path) -> None:
    small_bundle(tmp_path / "old")
    assert add(tmp_path, probes(tmp_path / "p.jsonl", FEWEST_PROBES - 2)) == 0
    new = load_bundle(tmp_path / "new")
    assert new.manifest.calibration.pending == ("llm-new",)
    assert new.features is not None
    ranking = new.router.score(*new.features.encode(["What is love?"])).ranking()
    assert new.models[ranking[0, -1]] == "llm-new"
    assert add(tmp_path, probes(tmp_path / "p.jsonl", FEWEST_PROBES + 2)) == 0
    assert load_bundle(tmp_path / "new").manifest.calibration.pending == ()


def test_a_model_of_the_bundle_is_replaced(tmp_path: Path) -> None:
    small_bundle(tmp_path / "old", models=("llm-a", "llm-b", "llm-new"))
    assert add(tmp_path, probes(tmp_path / "p.jsonl", 200)) == 0
    new = load_bundle(tmp_path / "new")
    assert new.models == ("llm-a", "llm-b", "llm-new")
    assert new.features is not None
    ranking = new.router.score(*new.features.encode(["What is love, dear?"])).ranking()
    assert new.models[ranking[0, 0]] == "llm-new"


def test_the_same_probes_give_the_same_bundle(tmp_path: Path) -> None:
    small_bundle(tmp_path / "old")
    digests = set()
    for _ in range(2):
        assert add(tmp_path, probes(tmp_path / "p.jsonl", 90)) == 0
        digests.add(load_bundle(tmp_path / "new").digest)
    assert len(digests) == 1


def test_a_learning_curve_is_written_as_json_lines(tmp_path: Path) -> None:
    small_bundle(tmp_path / "old")
    test = probes(tmp_path / "t.jsonl", 40, others=True)
    curve = tmp_path / "curve.jsonl"
    flags = ("--learning-curve", str(curve), "--test", f"{test}:multi_attempt")
    assert add(tmp_path, probes(tmp_path / "p.jsonl", 40, others=True), *flags) == 0
    lines = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    assert {"probes", "seed", "metric", "value"} <= lines[0].keys()
    assert {8, 16, 32} <= {line["probes"] for line in lines}


@pytest.mark.parametrize(
    ("count", "flags", "message"),
    [
        (1, (), "2 or more"),
        (20, ("--parents", "llm-x=1"), "llm-x"),
        (20, ("--learning-curve", "c.jsonl"), "--test"),
    ],
)
def test_what_cannot_be_done_gives_one_clear_line(
    count: int, flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_bundle(tmp_path / "old")
    assert add(tmp_path, probes(tmp_path / "p.jsonl", count), *flags) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_probes_without_the_model_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_bundle(tmp_path / "old")
    assert add(tmp_path, probes(tmp_path / "p.jsonl", 20), model="llm-other") == 2
    assert "llm-other" in capsys.readouterr().err
