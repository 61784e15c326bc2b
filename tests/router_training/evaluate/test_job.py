"""`router-training router evaluate` from the command line: figures by hand, and one clear line for what is wrong."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from router_core.bundle import EncoderSpec, RouterWeights, save_bundle
from router_core.encoder_files import weights_digest
from router_training.__main__ import main
from router_training.routers.encoder import load_encoder
from tests.support.tiny_encoder import DIMENSIONS, make_tiny_encoder

MODELS = ("left", "right")
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
QUESTIONS = ("add one", "sort two", "reverse three")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path) -> Path:
    """Routes the first question to `left`, the others to `right`: `left` points at the first question's own vector."""
    encoder = load_encoder(str(encoder_folder), max_tokens=16, truncation_side="left")
    first, *others = encoder.embed(QUESTIONS)
    path = tmp_path_factory.mktemp("bundle") / "b"
    save_bundle(
        path,
        models=MODELS,
        encoder=encoder.spec,
        weights=RouterWeights(np.stack([first, np.mean(others, axis=0)]).astype(np.float32)),
        temperature=1.0,
        confidence_temperature=1.0,
    )
    return path


def write(path: Path, rows: list[tuple[str, float, float]], names: tuple[str, str] = ("left", "right")) -> Path:
    items = [{"question": question, "scores": dict(zip(names, scores, strict=True))} for question, *scores in rows]
    path.write_bytes(gzip.compress(json.dumps(items).encode()))
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    attempts = write(tmp_path / "a:b.json.gz", [("add one", 0.5, 1.0), ("sort two", 0.25, 0.75)])
    # Columns in the other order: they belong to names, not to places.
    chances = write(tmp_path / "c.json.gz", [("add one", 0.0, 0.7), ("reverse three", 0.0, 0.3)], ("right", "left"))
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
    items = [{"question": "add one", "scores": {"genius": 1.0, "left": 0.0, "right": 0.0}}]
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
    strange = write(tmp_path / "s.json.gz", [("add one", 1.0, 0.0)], ("x", "y"))
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


def test_an_encoder_with_other_weights_is_refused(
    encoder_folder: Path, tables: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_tiny_encoder(tmp_path / "other", seed=1)
    assert weights_digest(other) != weights_digest(encoder_folder)
    spec = EncoderSpec(name=str(other), digest=weights_digest(encoder_folder), dimensions=DIMENSIONS, max_tokens=16)
    weights = RouterWeights(np.eye(2, DIMENSIONS, dtype=np.float32))
    save_bundle(
        tmp_path / "b", models=MODELS, encoder=spec, weights=weights, temperature=1.0, confidence_temperature=1.0
    )
    assert evaluate(tmp_path / "b", f"{tables[0]}:multi_attempt") == 2
    assert "use that encoder, or train the bundle again" in capsys.readouterr().err


def test_the_encoder_cuts_the_side_it_is_told_to(encoder_folder: Path) -> None:
    long = "add " * 30
    left, right = (
        load_encoder(str(encoder_folder), max_tokens=8, truncation_side=side).embed([long + "sort", "sort " + long])
        for side in SIDES
    )
    only_adds = load_encoder(str(encoder_folder), max_tokens=8, truncation_side="left").embed([long])[0]
    np.testing.assert_allclose(left[1], only_adds, atol=1e-6)
    np.testing.assert_allclose(right[0], only_adds, atol=1e-6)
    assert not np.allclose(left[0], only_adds, atol=1e-6)
    assert not np.allclose(right[1], only_adds, atol=1e-6)


def test_embedding_does_not_depend_on_the_company_of_a_text(encoder_folder: Path) -> None:
    encoder = load_encoder(str(encoder_folder), max_tokens=16, truncation_side="left")
    texts = ["add one two three", "sort", "reverse \ud800 words", ""]
    together = encoder.embed(texts, batch_size=2)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.embed([text])[0], vector, atol=1e-5)
