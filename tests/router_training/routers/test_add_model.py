"""`router-training router add-model` from the command line."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_core.bundle import (
    AbstentionSpec,
    CalibrationSpec,
    RouterBundle,
    ScorerSpec,
    SentenceEncoderSpec,
    load_bundle,
    question_hash,
    save_bundle,
)
from router_core.model_card import FileEntry, ModelCard, Parent, digest_of_files, write_model_card
from router_core.table import TableRow, write_table
from router_training.__main__ import main
from router_training.evaluate.page.learning_file import read_learning_curves
from router_training.routers.add_model import export_addition
from router_training.routers.adding.addition import add_model
from router_training.routers.adding.probes import read_probes
from router_training.routers.calibration import fit_calibration
from router_training.routers.dataset import DataFile
from router_training.routers.methods.base import FitData, quality_of
from router_training.routers.methods.registry import method_named
from tests.support.small_bundle import small_bundle

NEW = "llm-new"
DIGITS, WORDS = "1234567890 {} 11", "which word is number {}"
THRESHOLDS = AbstentionSpec(
    max_regret=0.02, thresholds={"llm-a": 0.1, "llm-b": 0.2}, coverage={"llm-a": 1.0, "llm-b": 0.5}
)


def word(number: int) -> str:
    """A number without digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def questions(count: int, start: int = 0) -> list[str]:
    """Half of digits, half of words, all different."""
    return [DIGITS.format(n) if n % 2 == 0 else WORDS.format(word(n)) for n in range(start, start + count)]


def is_digits(question: str) -> bool:
    return question[0].isdigit()


def write_probes(
    path: Path,
    asked: Sequence[str],
    credit: Callable[[str], float] = lambda question: float(is_digits(question)),
    *,
    model: str = NEW,
    others: Sequence[str] = (),
) -> Path:
    """A table of the model, right on digits alone; `others` are right on every question."""
    rows = [
        TableRow(id=str(n), question=question, scores={model: credit(question)} | dict.fromkeys(others, 1.0))
        for n, question in enumerate(asked)
    ]
    write_table(path, rows)
    return path


def add(bundle: Path, probes: Path | str, out: Path, *flags: str, model: str = NEW) -> int:
    basics = ["--bundle", str(bundle), "--data", str(probes), "--out", str(out), "--model", model]
    return main(["router", "add-model", *basics, *flags])


def probabilities(bundle: RouterBundle, text: str) -> dict[str, float]:
    assert bundle.features is not None
    said = bundle.router.score(*bundle.features.encode([text])).probability[0]
    return dict(zip(bundle.models, said.tolist(), strict=True))


@pytest.fixture
def bundle(tmp_path: Path) -> RouterBundle:
    return small_bundle(
        tmp_path / "old",
        abstention=THRESHOLDS,
        training_questions=questions(4),
        training={"tasks": ["digits", "words"]},
        evaluation={"mean": {"routed": 0.5}},
    )


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_probes(tmp_path / "probes.jsonl", questions(80, start=4))


def test_the_model_is_added_and_everything_else_is_byte_for_byte_what_it_was(
    bundle: RouterBundle, probes: Path, tmp_path: Path
) -> None:
    assert add(bundle.path, probes, tmp_path / "new") == 0
    made = load_bundle(tmp_path / "new")
    assert made.models == (*bundle.models, NEW)
    assert made.tensors.keys() == bundle.tensors.keys()
    of_models = {"scorer.prior.accuracy": 1, "novelty.base_rates": 0}
    for name, tensor in bundle.tensors.items():
        if name in of_models:
            assert np.delete(made.tensors[name], 2, of_models[name]).tobytes() == tensor.tobytes()
        elif name != "training.question_hashes":
            assert made.tensors[name].tobytes() == tensor.tobytes()
    assert made.manifest.encoder == bundle.manifest.encoder
    assert made.manifest.scorer == bundle.manifest.scorer
    for text in ("2 + 2 = 4444", "What is love?"):
        after = probabilities(made, text)
        assert {name: after[name] for name in bundle.models} == probabilities(bundle, text)
    assert probabilities(made, "11 + 22 = 33")[NEW] > 0.75 > 0.35 > probabilities(made, "What is love?")[NEW]


def test_the_new_bundle_says_where_it_comes_from(bundle: RouterBundle, probes: Path, tmp_path: Path) -> None:
    assert add(bundle.path, probes, tmp_path / "new") == 0
    manifest = load_bundle(tmp_path / "new").manifest
    assert [(parent.name, parent.digest) for parent in manifest.parents] == [("router bundle", bundle.digest)]
    assert [(entry.name, entry.rows) for entry in manifest.data] == [("probes.jsonl", 80)]
    added: Any = manifest.training["added"]
    assert added[NEW]["probes"] == added[NEW]["questions"] == 80
    assert added[NEW]["parents"] == {"llm-a": 0.5, "llm-b": 0.5}
    assert manifest.training["tasks"] == ["digits", "words"]
    evaluation: Any = manifest.evaluation
    assert evaluation["before_adding"] == {"mean": {"routed": 0.5}}
    assert evaluation["added"][NEW]["brier"] < evaluation["added"][NEW]["brier_of_warm_start"]
    hashes = load_bundle(tmp_path / "new").question_hashes
    assert hashes is not None
    assert set(hashes.tolist()) == {question_hash(question) for question in questions(84)}
    assert str(tmp_path) not in (tmp_path / "new" / "router.json").read_text()


def test_the_same_input_gives_the_same_bytes(bundle: RouterBundle, probes: Path, tmp_path: Path) -> None:
    for name in ("one", "again"):
        assert add(bundle.path, probes, tmp_path / name) == 0
    assert load_bundle(tmp_path / "one").digest == load_bundle(tmp_path / "again").digest


@pytest.mark.parametrize(("asked", "is_pending"), [(63, True), (64, False)])
def test_a_model_is_pending_until_it_has_probes_enough(
    bundle: RouterBundle, tmp_path: Path, asked: int, is_pending: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    always = write_probes(tmp_path / "probes.jsonl", questions(asked), lambda question: 1.0)
    assert add(bundle.path, always, tmp_path / "new") == 0
    made = load_bundle(tmp_path / "new")
    assert made.manifest.calibration.pending == ((NEW,) if is_pending else ())
    assert ("pending until it has 64 probes" in capsys.readouterr().out) == is_pending
    assert made.features is not None
    ranking = made.router.score(*made.features.encode(["What is love?"])).ranking()[0]
    assert probabilities(made, "What is love?")[NEW] > 0.85  # better than llm-b's 0.8
    assert made.models[ranking[-1 if is_pending else 0]] == NEW


def test_asking_one_question_often_makes_no_probes(bundle: RouterBundle, tmp_path: Path) -> None:
    often = write_probes(tmp_path / "probes.jsonl", questions(10) * 10)
    assert add(bundle.path, often, tmp_path / "new") == 0
    assert load_bundle(tmp_path / "new").manifest.calibration.pending == (NEW,)


def test_adding_to_its_own_folder_and_adding_again_with_more_probes(
    bundle: RouterBundle, probes: Path, tmp_path: Path
) -> None:
    few = write_probes(tmp_path / "few.jsonl", questions(10, start=200))
    assert add(bundle.path, few, bundle.path) == 0
    first = load_bundle(bundle.path)
    assert add(bundle.path, probes, bundle.path) == 0
    second = load_bundle(bundle.path)
    assert first.manifest.calibration.pending == (NEW,)
    assert second.manifest.calibration.pending == ()
    assert second.models == first.models == (*bundle.models, NEW)
    assert [parent.digest for parent in second.manifest.parents] == [bundle.digest, first.digest]
    assert [entry.name for entry in second.manifest.data] == ["few.jsonl", "probes.jsonl"]
    added: Any = second.manifest.training["added"]
    assert added[NEW]["replaced"] is True
    assert second.manifest.evaluation["before_adding"] == {"mean": {"routed": 0.5}}


def test_a_replaced_model_keeps_its_place_and_starts_at_its_old_row(bundle: RouterBundle, tmp_path: Path) -> None:
    # llm-a was good at digits and is no more; of words the probes say nothing, and its old row still does.
    worse = write_probes(tmp_path / "p.jsonl", questions(140)[::2], lambda question: 0.0, model="llm-a")
    assert add(bundle.path, worse, tmp_path / "new", model="llm-a") == 0
    made = load_bundle(tmp_path / "new")
    assert made.models == bundle.models
    old, new = bundle.tensors["scorer.prior.accuracy"], made.tensors["scorer.prior.accuracy"]
    assert new[0, 0] < 0.2 < old[0, 0]
    assert new[1, 0] == pytest.approx(old[1, 0], abs=0.02)
    assert np.array_equal(new[:, 1], old[:, 1])
    added: Any = made.manifest.training["added"]
    assert added["llm-a"]["parents"] == {"llm-a": 1.0}


def card_of(path: Path, *parents: str) -> Path:
    files = {"weights.safetensors": FileEntry(sha256="0" * 64, bytes=1)}
    card = ModelCard(
        name=NEW,
        kind="base",
        base=NEW,
        parents=tuple(Parent(name=name, digest="0" * 64) for name in parents),
        method="merged",
        files=files,
        digest=digest_of_files(files),
        licence="MIT",
        command="merge",
    )
    write_model_card(path / "card.json", card)
    return path


@pytest.mark.parametrize(
    ("flags", "parents", "start"),
    [
        (["--parents", "llm-a=3", "llm-b=1"], {"llm-a": 0.75, "llm-b": 0.25}, (0.725, 0.425)),
        (["--parents", "llm-b"], {"llm-b": 1.0}, (0.2, 0.8)),
        (["--card", "b"], {"llm-b": 1.0}, (0.2, 0.8)),
        (["--card", "hub/b"], {"llm-b": 1.0}, (0.2, 0.8)),
        (["--card", "unknown"], {"llm-a": 0.5, "llm-b": 0.5}, (0.55, 0.55)),
        ([], {"llm-a": 0.5, "llm-b": 0.5}, (0.55, 0.55)),
    ],
)
def test_where_the_row_starts(
    bundle: RouterBundle,
    tmp_path: Path,
    flags: list[str],
    parents: dict[str, float],
    start: tuple[float, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if flags[:1] == ["--card"]:
        named = {"b": "llm-b", "hub/b": "some-org/llm-b", "unknown": "llm-z"}[flags[1]]
        flags = ["--card", str(card_of(tmp_path, named))]
    # Two probes in all, one right and one wrong in each of the tasks: the row hardly moves.
    half = write_probes(tmp_path / "p.jsonl", questions(2), lambda question: 0.5)
    assert add(bundle.path, half, tmp_path / "new", *flags) == 0
    made = load_bundle(tmp_path / "new")
    added: Any = made.manifest.training["added"]
    assert added[NEW]["parents"] == parents
    row = made.tensors["scorer.prior.accuracy"][:, 2]
    assert np.abs(row - 0.5) == pytest.approx(np.abs(np.array(start) - 0.5), abs=0.31)
    assert (np.sign(row - 0.5) == np.sign(np.array(start) - 0.5)).all()
    assert ("knows no parent" in capsys.readouterr().out) == ("--card" in flags and len(parents) == 2)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model", "llm-z"], "probes.jsonl: does not score 'llm-z'; it scores llm-new"),
        (["--model", " "], "--model: the name is empty"),
        (["--parents", "llm-z=1"], "--parents llm-z=1: 'llm-z' is none of the bundle's models: llm-a, llm-b"),
        (["--parents", "llm-a=0"], "--parents llm-a=0: the weight must be above 0"),
        (["--parents", "llm-a=nan"], "--parents llm-a=nan: the weight must be above 0"),
        (["--parents", "llm-a", "llm-a=2"], "'llm-a' is named twice"),
        (["--card", "no/such/card.json"], "no such model card"),
        (["--data", "one.jsonl"], "one.jsonl: one question alone"),
        (["--data", "nan.jsonl"], "nan.jsonl: line 1"),
        (["--data", "none.jsonl"], "none.jsonl: no such file"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        (["--test", "probes.jsonl:probability"], "--learning-curve and --test come together"),
        (["--learning-curve", "c.jsonl"], "--learning-curve and --test come together"),
        (["--reference", "old"], "--reference: belongs to --learning-curve"),
        (["--bundle", "lone"], "lone: holds one model alone"),
        (["--bundle", "no-bundle"], "no such router bundle"),
        (["--out", "probes.jsonl"], "--out probes.jsonl: is a file; give a folder"),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(
    bundle: RouterBundle,
    probes: Path,
    tmp_path: Path,
    flags: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_probes(tmp_path / "one.jsonl", ["Same?", "same?  "])
    (tmp_path / "nan.jsonl").write_text('{"id": "1", "question": "q", "scores": {"llm-new": NaN}}\n')
    small_bundle(tmp_path / "lone", models=("llm-a",))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert add(bundle.path, probes, tmp_path / "new", *flags) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_without_a_place_to_write_to_there_is_nothing_to_do(
    bundle: RouterBundle, probes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["router", "add-model", "--bundle", str(bundle.path), "--data", str(probes), "--model", NEW]
    assert main(words) == 2
    assert "--out: missing" in capsys.readouterr().err


def test_thresholds_stay_while_the_newcomer_is_pending(bundle: RouterBundle, tmp_path: Path) -> None:
    few = write_probes(tmp_path / "few.jsonl", questions(20))
    assert add(bundle.path, few, tmp_path / "new") == 0
    assert load_bundle(tmp_path / "new").manifest.abstention == THRESHOLDS


@pytest.mark.parametrize("reason", ["few replace a model", "the others are not scored", "trained on", "too few"])
def test_thresholds_that_no_longer_hold_are_dropped(
    bundle: RouterBundle, tmp_path: Path, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, others = NEW, bundle.models
    asked = questions(150, start=4)
    if reason == "few replace a model":
        model, others, asked = "llm-a", ("llm-b",), questions(20)
    elif reason == "the others are not scored":
        others = ()
    elif reason == "trained on":
        asked = questions(100)  # of which four were
    else:
        asked = asked[:99]
    table = write_probes(tmp_path / "p.jsonl", asked, model=model, others=others)
    assert add(bundle.path, table, tmp_path / "new", model=model) == 0
    assert load_bundle(tmp_path / "new").manifest.abstention is None
    assert "abstention: the thresholds no longer hold and were dropped" in capsys.readouterr().out


def test_thresholds_are_fitted_again_on_fresh_probes_that_score_every_model(
    bundle: RouterBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The others are always right, so leaving llm-a for anyone never pays; leaving the newcomer for them does.
    table = write_probes(tmp_path / "p.jsonl", questions(120, start=4), others=bundle.models)
    assert add(bundle.path, table, tmp_path / "new") == 0
    fitted = load_bundle(tmp_path / "new").manifest.abstention
    assert fitted is not None
    assert fitted.thresholds.keys() == {*bundle.models, NEW}
    assert fitted.max_regret == THRESHOLDS.max_regret
    assert "abstention: the thresholds were fitted again" in capsys.readouterr().out


def test_a_bundle_without_thresholds_gets_none(
    tmp_path: Path, probes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = small_bundle(tmp_path / "bare")
    assert add(bare.path, probes, tmp_path / "new") == 0
    assert load_bundle(tmp_path / "new").manifest.abstention is None
    assert load_bundle(tmp_path / "new").question_hashes is None  # half a list would pass for a whole one
    assert "abstention" not in capsys.readouterr().out


METHODS: dict[str, dict[str, Any]] = {
    "task_prior": {},
    "ridge": {"alpha": 30.0},
    "clusters": {"clusters": 2, "shrinkage": 4.0},
    "mlp": {"hidden": 8, "epochs": 20},
    "cosine_classifier": {"temperature": 0.5},
    "routerdc": {"projection": 4, "steps": 40, "cluster_weight": 0.0, "labels": "credit"},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_model_is_added_to_a_bundle_of_every_other_scorer(tmp_path: Path, method: str, bundle: RouterBundle) -> None:
    old = bundle_of(method, METHODS[method], bundle, tmp_path / method)
    table = write_probes(tmp_path / "p.jsonl", questions(200, start=500))
    assert add(old.path, table, tmp_path / "new") == 0
    made = load_bundle(tmp_path / "new")
    digits, words = probabilities(made, DIGITS.format(7))[NEW], probabilities(made, WORDS.format("xyz"))[NEW]
    assert digits > words + 0.3
    if method != "cosine_classifier":  # whose figures are shares, of which the newcomer takes some
        after = probabilities(made, "11 and more")
        before = probabilities(old, "11 and more")
        assert {name: after[name] for name in old.models} == pytest.approx(before, abs=1e-6)


def bundle_of(method: str, setting: dict[str, Any], like: RouterBundle, path: Path) -> RouterBundle:
    """A bundle of three models with the encoder and the novelty score of `like`."""
    assert like.features is not None
    asked = questions(120)
    vectors, _ = like.features.encode(asked)
    rng = np.random.default_rng(0)
    often = np.array([[0.8, 0.5, 0.4] if is_digits(question) else [0.3, 0.6, 0.5] for question in asked])
    credit = (rng.random(often.shape) < often).astype(np.float64)
    tasks = tuple("digits" if is_digits(question) else "words" for question in asked)
    data = FitData(vectors, credit, credit, tasks)
    fitted = method_named(method).fit(data, **setting)
    gives = fitted.scorer(vectors.shape[1], 3).gives_probabilities
    figures = quality_of(fitted, vectors, 3)
    folds = np.arange(len(data)) % 5
    calibration = fit_calibration(figures, credit, data.weights, tasks, folds, from_probabilities=gives)
    kept = {name: tensor for name, tensor in like.tensors.items() if name.startswith(("encoder.", "novelty."))}
    return save_bundle(
        path,
        models=("llm-a", "llm-b", "llm-c"),
        encoder=like.encoder,
        scorer=ScorerSpec(name=fitted.name, options=dict(fitted.options)),
        tensors={
            **kept,
            **{f"scorer.{name}": tensor for name, tensor in fitted.tensors.items()},
            **{f"calibration.{name}": tensor for name, tensor in calibration.tensors.items()},
            "novelty.base_rates": credit.mean(axis=0).astype(np.float32),
        },
        calibration=CalibrationSpec(method=calibration.method),
    )


def test_an_encoder_that_the_bundle_carries_comes_along(bundle: RouterBundle, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    width = bundle.encoder.dimensions
    old = save_bundle(
        tmp_path / "carrying",
        models=bundle.models,
        encoder=SentenceEncoderSpec(name="bundle:encoder", digest="0" * 64, dimensions=width, max_tokens=16),
        scorer=bundle.manifest.scorer,
        tensors={name: tensor for name, tensor in bundle.tensors.items() if not name.startswith("encoder.")},
        encoder_folder=folder,
    )
    table = read_probes([DataFile.parse(str(write_probes(tmp_path / "p.jsonl", questions(8))))], NEW, old.models)
    probes = table.encoded(
        lambda texts: (np.eye(len(texts), width, dtype=np.float32), np.zeros(len(texts), np.float32)), 0
    )
    made = export_addition(tmp_path / "new", old, NEW, add_model(old, NEW, probes, {"llm-a": 1.0}), table)
    assert (tmp_path / "new" / "encoder" / "config.json").read_text() == "{}"
    assert made.encoder == old.encoder


def test_a_learning_curve_is_measured_and_the_report_can_read_it(
    bundle: RouterBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_probes(tmp_path / "p.jsonl", questions(20))
    test = write_probes(tmp_path / "test.jsonl", questions(40, start=900), lambda question: 1.0, others=bundle.models)
    assert add(bundle.path, write_probes(tmp_path / "all.jsonl", questions(80)), tmp_path / "known") == 0
    curve = tmp_path / "curve.jsonl"
    flags = ["--learning-curve", str(curve), "--test", f"{test}:multi_attempt", "--reference", str(tmp_path / "known")]
    assert add(bundle.path, table, tmp_path / "new", *flags) == 0
    points = read_learning_curves(curve)
    assert {point.metric for point in points} == {"routed", "brier", "probability_mae", "row_error"}
    assert {point.probes for point in points} == {0, 8, 16, 80}  # none, the counts there are probes for, the reference
    assert {point.seed for point in points if point.probes == 8} == {0, 1, 2, 3, 4}
    errors = {point.probes: point.value for point in points if point.metric == "row_error" and point.seed == 0}
    assert errors[80] == 0 < errors[16] < errors[0]
    assert all(point.value == 1 for point in points if point.metric == "routed")  # everyone is always right
    assert "measurements on 1 test table(s)" in capsys.readouterr().out
    first = curve.read_bytes()
    assert add(bundle.path, table, tmp_path / "new", *flags) == 0
    assert curve.read_bytes() == first
    assert json.loads(first.splitlines()[0]).keys() == {"probes", "seed", "metric", "value"}


def test_a_reference_of_other_models_is_refused(
    bundle: RouterBundle, probes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_probes(tmp_path / "test.jsonl", questions(4), others=bundle.models)
    flags = [
        "--learning-curve",
        str(tmp_path / "c"),
        "--test",
        f"{test}:multi_attempt",
        "--reference",
        str(bundle.path),
    ]
    assert add(bundle.path, probes, tmp_path / "new", *flags) == 2
    assert "routes to other models; not in both: llm-new" in capsys.readouterr().err
