"""`router-training router evaluate` from the command line: figures by hand, and one clear line for what is wrong."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_core.bundle import AbstentionSpec, ScorerSpec, SentenceEncoderSpec, save_bundle
from router_core.encoder_files import weights_digest
from router_training.__main__ import main
from tests.support.small_bundle import small_bundle
from tests.support.tiny_encoder import DIMENSIONS, make_tiny_encoder

MODELS = ("left", "right")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Routes what has a digit to `left` (promised 0.9; `right` 0.2), other text to `right` (0.8; `left` 0.3)."""
    return small_bundle(tmp_path_factory.mktemp("bundle") / "b", models=MODELS).path


def write(path: Path, rows: list[tuple[str, float, float]], names: tuple[str, str] = ("left", "right")) -> Path:
    items = [{"question": question, "scores": dict(zip(names, scores, strict=True))} for question, *scores in rows]
    path.write_bytes(gzip.compress(json.dumps(items).encode()))
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    attempts = write(tmp_path / "a:b.json.gz", [("add 1", 0.5, 1.0), ("sort words", 0.25, 0.75)])
    # Columns in the other order: they belong to names, not to places.
    chances = write(tmp_path / "c.json.gz", [("add 1", 0.0, 0.7), ("reverse words", 0.0, 0.3)], ("right", "left"))
    return attempts, chances


def evaluate(bundle: Path, *words: str) -> int:
    return main(["router", "evaluate", "--bundle", str(bundle), "--resamples", "100", "--data", *words])


def test_every_figure_by_hand(
    bundle: Path, tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts, chances = tables
    out = tmp_path / "out.json"
    assert evaluate(bundle, f"{attempts}:multi_attempt", f"{chances}:probability", "--json", str(out)) == 0
    # Credits (left, right): [0.5, 1], [0.25, 0.75] and, binarised, [1, 0], [1, 0]; chosen: left, right, left, right.
    expected: dict[str, Any] = {
        "files": {
            str(attempts): {
                "routed": 0.625,
                "best_single": 0.375,
                "file_best": 0.875,
                "random": 0.625,
                "oracle": 0.875,
                "n": 2,
            },
            str(chances): {
                "routed": 0.5,
                "best_single": 1.0,
                "file_best": 1.0,
                "random": 0.5,
                "oracle": 1.0,
                "n": 2,
            },
        },
        "mean": {
            "routed": 0.5625,
            "best_single": 0.6875,
            "file_best": 0.9375,
            "random": 0.5625,
            "oracle": 0.9375,
            "n": 4,
        },
    }
    assert json.loads(out.read_text()) == expected
    printed = capsys.readouterr().out
    for words in (
        "routed",
        "best single: left",
        "file best",
        "random",
        "oracle",
        "paired",
        "mean over 2 files",
        "n = 4",
    ):
        assert words in printed
    assert "62.50" in printed
    assert "56.25" in printed


def test_columns_that_the_bundle_does_not_route_to_are_left_out_and_named(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [{"question": "add 1", "scores": {"genius": 1.0, "left": 0.0, "right": 0.0}}]
    (tmp_path / "t.json").write_text(json.dumps(items))
    assert evaluate(bundle, f"{tmp_path / 't.json'}:multi_attempt", "--json", str(tmp_path / "o.json")) == 0
    assert json.loads((tmp_path / "o.json").read_text())["mean"]["oracle"] == 0.0
    assert "left out of every figure: genius" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{a}", "must end in :multi_attempt or :probability"),
        ("{a}:accuracy", "must end in :multi_attempt or :probability"),
        ("{a}.none:probability", "no such file"),
        ("{strange}:probability", "does not score left, right, which the bundle routes to; it scores x, y"),
        ("{a}:probability {a}:multi_attempt", "given twice"),
    ],
)
def test_bad_data_gives_one_clear_line(
    bundle: Path,
    tables: tuple[Path, Path],
    tmp_path: Path,
    data: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    strange = write(tmp_path / "s.json.gz", [("add 1", 1.0, 0.0)], ("x", "y"))
    assert evaluate(bundle, *data.format(a=tables[0], strange=strange).split(" ")) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""


def test_a_bad_bundle_gives_one_clear_line(
    bundle: Path, tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bundle, tmp_path / "cut")
    weights = tmp_path / "cut" / "router.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    assert evaluate(tmp_path / "cut", f"{tables[0]}:multi_attempt") == 2
    captured = capsys.readouterr()
    assert "router.safetensors" in captured.err
    assert "truncated" in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def neural_bundle(path: Path, encoder: Path, digest: str) -> Path:
    """A bundle that names a neural encoder and always routes to `right`."""
    save_bundle(
        path,
        models=MODELS,
        encoder=SentenceEncoderSpec(
            name=str(encoder), digest=digest, dimensions=DIMENSIONS, max_tokens=16, truncation_side="left"
        ),
        scorer=ScorerSpec(name="task_prior"),
        tensors={
            "scorer.weight": np.zeros((1, DIMENSIONS), np.float32),
            "scorer.bias": np.zeros(1, np.float32),
            "scorer.accuracy": np.array([[0.4, 0.6]], np.float32),
            "novelty.centroids": np.zeros((1, DIMENSIONS), np.float32),
            "novelty.scale": np.ones(DIMENSIONS, np.float32),
            "novelty.bounds": np.array([100, 200], np.float32),
            "novelty.base_rates": np.array([0.4, 0.6], np.float32),
        },
    )
    return path


def test_a_bundle_with_a_neural_encoder_is_judged_and_other_weights_are_refused(
    tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = make_tiny_encoder(tmp_path / "encoder")
    digest = weights_digest(encoder)
    data = f"{tables[0]}:multi_attempt"
    assert evaluate(neural_bundle(tmp_path / "b", encoder, digest), data) == 0
    assert line_of(capsys.readouterr().out, "routed ")[1] == "87.50"
    other = make_tiny_encoder(tmp_path / "other", seed=1)
    assert weights_digest(other) != digest
    assert evaluate(neural_bundle(tmp_path / "o", other, digest), data) == 2
    assert "use that encoder, or train the bundle again" in capsys.readouterr().err


def line_of(printed: str, start: str) -> list[str]:
    """The words of the first printed line that starts so."""
    return next(line for line in printed.splitlines() if line.strip().startswith(start)).split()


def test_errors_of_the_stated_probabilities(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.json.gz", [("1 + 1", 1.0, 0.0), ("words", 1.0, 1.0)])
    assert evaluate(bundle, f"{table}:multi_attempt") == 0
    printed = capsys.readouterr().out
    # Stated 0.9, 0.2, 0.3, 0.8 against 1, 0, 1, 1; no two share a bin of a fifteenth.
    assert [float(word) for word in line_of(printed, "of every model")[-2:]] == pytest.approx(
        [(0.1 + 0.2 + 0.7 + 0.2) / 4, (0.01 + 0.04 + 0.49 + 0.04) / 4], abs=1e-4
    )
    assert [float(word) for word in line_of(printed, "of the chosen model")[-2:]] == pytest.approx(
        [(0.1 + 0.2) / 2, (0.01 + 0.04) / 2], abs=1e-4
    )


def test_abstention_leaves_small_gains_to_the_best_model_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # left is best in training (0.6); words promise 0.5 more from right, which is not enough.
    spec = AbstentionSpec(max_regret=0.1, thresholds={"left": 0.51, "right": 0.0}, coverage={})
    bundle = small_bundle(tmp_path / "b", models=MODELS, abstention=spec).path
    table = write(tmp_path / "t.json.gz", [("words", 0.0, 1.0), ("1", 1.0, 0.0)])
    assert evaluate(bundle, f"{table}:multi_attempt") == 0
    printed = capsys.readouterr().out
    assert line_of(printed, "routed ")[1] == "100.00"
    assert line_of(printed, "with abstention to left")[4] == "50.00"
    assert line_of(printed, "with abstention to left")[-2:] == ["0.0%", "routed"]


def test_a_bundle_without_abstention_has_no_such_row(
    bundle: Path, tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(bundle, f"{tables[0]}:multi_attempt") == 0
    assert "abstention" not in capsys.readouterr().out


@pytest.fixture
def knowing(tmp_path: Path) -> Path:
    """A bundle that was trained on two of the questions below."""
    return small_bundle(tmp_path / "knowing", models=MODELS, training_questions=["Sort  WORDS", "add 1"]).path


def test_questions_of_the_training_data_are_counted_and_named(
    knowing: Path, tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("add 1", 1.0, 0.0), ("add 2", 0.0, 0.0), ("add  1", 1.0, 0.0), ("add 3", 1.0, 0.0)]
    table = write(tmp_path / "t.json.gz", rows)
    out = tmp_path / "out.json"
    assert evaluate(knowing, f"{table}:multi_attempt", f"{tables[1]}:probability", "--json", str(out)) == 0
    printed = capsys.readouterr().out
    assert (
        f"{table}: 2 of 4 questions stand verbatim in the training data (t:0, t:2); "
        "routed 75.00 with them, 50.00 without"
    ) in printed
    assert f"{tables[1]}: 1 of 2 questions" in printed
    assert json.loads(out.read_text())["files"][str(table)]["routed"] == 0.75


def test_many_duplicates_are_named_in_part(knowing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "t.json.gz", [("add 1", 1.0, 0.0)] * 7)
    assert evaluate(knowing, f"{table}:multi_attempt") == 0
    printed = capsys.readouterr().out
    assert "7 of 7 questions" in printed
    assert "(t:0, t:1, t:2, t:3, t:4 and 2 more); routed 100.00 with them, nothing is left without" in printed


def test_a_bundle_that_does_not_know_its_questions_says_so(
    bundle: Path, tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(bundle, f"{tables[0]}:multi_attempt") == 0
    assert "duplicates are not counted" in capsys.readouterr().out


def test_strict_splits_refuses_duplicates_in_one_line(
    knowing: Path, bundle: Path, tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = write(tmp_path / "fresh.json.gz", [("other words", 1.0, 0.0)])
    words = f"{fresh}:multi_attempt", f"{tables[0]}:multi_attempt"
    assert evaluate(knowing, *words, "--strict-splits") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 question(s) stand verbatim" in captured.err
    assert f"the first is a:b:0 of {tables[0]}" in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert evaluate(knowing, f"{fresh}:multi_attempt", "--strict-splits") == 0
    capsys.readouterr()
    assert evaluate(bundle, f"{fresh}:multi_attempt", "--strict-splits") == 2
    assert "does not say which questions it was trained on" in capsys.readouterr().err


def test_costs_add_the_cost_quality_curve(
    bundle: Path, tables: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(bundle, f"{tables[0]}:multi_attempt", "--costs", "left=1", "right=3") == 0
    printed = capsys.readouterr().out
    # Routed: left for the digit (0.5), right for the words (0.75), mean cost 2; from lambda 0.25 both go left (0.375).
    assert line_of(printed, "0 ")[1:] == ["62.50", "2"]
    assert line_of(printed, "0.25 ")[1:] == ["37.50", "1"]
    curve = printed[printed.index("cost and quality") :]
    assert float(line_of(curve, "routed")[1]) == pytest.approx(100 * (0.5 + 0.625) / 2, abs=0.01)
    # The cheaper model earns 0.375 and the dearer one 0.875; the oracle needs the dearer for both.
    assert float(line_of(curve, "random mix")[2]) == pytest.approx(62.5)
    assert line_of(curve, "right")[1:] == ["87.50", "3"]


@pytest.mark.parametrize("costs", [["left=1"], ["left=1", "right=x"], ["left=1", "right=1"]])
def test_bad_costs_are_refused_before_anything_is_judged(
    bundle: Path, tables: tuple[Path, Path], costs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(bundle, f"{tables[0]}:multi_attempt", "--costs", *costs) == 2
    captured = capsys.readouterr()
    assert "--costs" in captured.err
    assert captured.out == ""


def test_a_model_that_waits_for_probes_is_never_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = small_bundle(tmp_path / "b", models=MODELS, pending=["right"]).path
    table = write(tmp_path / "t.json.gz", [("words", 0.0, 1.0), ("1", 1.0, 0.0)])
    assert evaluate(bundle, f"{table}:multi_attempt") == 0
    assert line_of(capsys.readouterr().out, "left")[1:] == ["50.00", "100.0%"]
