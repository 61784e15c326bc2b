"""`router-training router report` from the command line, on a bundle whose every choice is known."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from router_core.bundle import AbstentionSpec
from router_core.table import TableRow, write_table
from router_training.__main__ import main
from tests.support.small_bundle import small_bundle

MODELS = ("org/left", "org/right")
ALWAYS = {"task_accuracy", "within_task_gain", "reliability", "risk_coverage", "choices", "query_map"}


class Page(HTMLParser):
    """What a reader sees: text, tables by their title, images; and what a browser would fetch or run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self._summary = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "srcset", "href"}]
        assert not [name for name, _ in attrs if name.startswith("on")]
        self._inside = tag
        if tag == "summary":
            self._summary = ""
        elif tag == "table":
            self.tables[self._summary] = []
        elif tag == "tr":
            self.tables[self._summary].append([])
        elif tag in {"td", "th"}:
            self.tables[self._summary][-1].append("")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._inside == "summary":
            self._summary += data
        elif self._inside in {"td", "th"} and self.tables:
            self.tables[self._summary][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def table(self, start: str) -> dict[str, list[str]]:
        """Rows by their first cell of the table whose title starts so."""
        rows = next(rows for title, rows in self.tables.items() if title.startswith(start))
        return {row[0]: row[1:] for row in rows}


def row(name: str, question: str, left: float, right: float, task: str | None) -> TableRow:
    return TableRow(id=name, question=question, task=task, scores={"org/left": left, "org/right": right})


ROWS = [
    row("m0", "1 + 1", 1.0, 0.0, "maths"),
    row("m1", "2 + 2", 0.0, 1.0, "maths"),
    row("m2", "3 + 3!", 0.0, 1.0, "maths"),
    row("m3", "4 + 4", 1.0, 1.0, "maths"),
    row("w0", "a word", 0.0, 1.0, "words"),
    row("w1", "another word", 1.0, 0.0, "words"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(tmp_path / "table.jsonl", ROWS)
    return tmp_path / "table.jsonl"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small_bundle(tmp_path / "b", models=MODELS, swaps_on_exclamation=True).path


def report(bundle: Path, out: Path, *words: str) -> int:
    options = ["--bundle", str(bundle), "--out", str(out), "--resamples", "50", "--map", "pca"]
    return main(["router", "report", *options, *words])


def page_of(out: Path) -> Page:
    return Page((out / "report.html").read_text())


RECORDED = {
    "calibration": {
        "chosen": "none",
        "brier": {"none": 0.2, "isotonic": 0.25},
        "routed": {"none": 1.0, "isotonic": 0.5},
    }
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with every section, over ROWS: digits go to left, other text and "3 + 3!" to right."""
    folder = tmp_path_factory.mktemp("full")
    spec = AbstentionSpec(max_regret=0.1, thresholds={"org/left": 0.6}, coverage={"org/left": 0.5})
    bundle = small_bundle(folder / "b", models=MODELS, swaps_on_exclamation=True, abstention=spec, evaluation=RECORDED)
    write_table(folder / "table.jsonl", ROWS)
    (folder / "curves.jsonl").write_text('{"probes": 0, "seed": 0, "metric": "routed", "value": 0.5}\n')
    words = ["--costs", "org/left=1", "org/right=2", "--learning-curves", str(folder / "curves.jsonl")]
    assert report(bundle.path, folder / "out", "--data", f"{folder / 'table.jsonl'}:multi_attempt", *words) == 0
    return folder / "out"


def test_every_figure_by_hand(full: Path) -> None:
    page = page_of(full)
    # Earned: maths 1, 0, 1, 1 of left 0.5 and right 0.75; words 1, 0 of 0.5 and 0.5. Best single: right.
    accuracy = page.table("Routed accuracy")
    assert [accuracy["maths"][place] for place in (0, 1, 3, 4, 6)] == ["4", "75.00", "100.00", "+0.00", "+0.00"]
    assert [accuracy["words"][place] for place in (0, 1, 3, 4, 6)] == ["2", "50.00", "100.00", "+0.00", "+0.00"]
    assert accuracy["mean over tasks"][1] == "62.50"
    assert page.table("Each model alone, accuracy")["maths"] == ["50.00", "75.00", "62.50"]
    # The prior alone sends "3 + 3!" to left, which earns nothing: one query of four.
    gains = page.table("Gain over the bundle's own task prior")
    assert gains["maths"][:2] == ["4", "+25.00"]
    assert gains["maths"][3] == "25.00"
    assert gains["words"][1] == "+0.00"
    assert gains["mean over tasks"][1] == "+12.50"
    regrets = page.table("Regret against")
    assert regrets["maths"] == ["org/right", "+0.00"]
    # Maths: three queries differ; m0 and m2 were right, m1 went left where right was best.
    assert page.table("maths: chosen")["org/left"] == ["33.3", "33.3"]
    assert page.table("maths: chosen")["org/right"] == ["0.0", "33.3"]
    assert page.table("words: chosen")["org/right"] == ["50.0", "50.0"]
    assert page.table("How often")["maths"] == ["75.0", "25.0"]
    # Gains over left: 1 for "3 + 3!" and 0.5 for the words, so 0.6 leaves the words to left.
    abstained = next(cells for name, cells in page.table("Routing only where").items() if "the bundle" in name)
    assert abstained == ["16.67", "+16.67"]
    assert page.tables["Each model alone"][1] == ["org/left", "1", "50.00"]
    assert page.table("Queries on the map")["org/left"] == ["3"]
    assert "62.50%" in page.text
    assert [cells[:3] for cells in page.tables[next(t for t in page.tables if t.startswith("What was asked"))][1:]] == [
        ["m1", "maths", "org/left"],
        ["w1", "words", "org/right"],
    ]


def test_pictures_are_in_the_page_and_beside_it_in_light_and_dark(full: Path) -> None:
    names = ALWAYS | {"cost_quality", "learning_curves"}
    assert {path.name for path in full.iterdir()} == {
        "report.html",
        *(f"{name}.png" for name in names),
        *(f"{name}-dark.png" for name in names),
    }
    for name in names:
        light, dark = (
            Image.open(io.BytesIO((full / f"{name}{end}.png").read_bytes())).convert("L") for end in ("", "-dark")
        )
        assert light.size == dark.size
        assert light.width > 1000
        assert light.getpixel((0, 0)) > 200 > 60 > dark.getpixel((0, 0))  # type: ignore[operator]
        assert len(light.getcolors(1 << 24) or []) > 20  # something is drawn
    page = page_of(full)
    pictures = [source for source in page.sources if source.startswith("data:image/png;base64,")]
    assert len(pictures) == 2 * len(names)
    assert page.table("Measures by number")["routed"] == ["0", "0.5000", "0.5000", "0.5000", "1"]


def test_the_page_loads_and_runs_nothing(full: Path) -> None:
    html = (full / "report.html").read_text()
    page = Page(html)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form"}
    assert all(source.startswith(("data:image/png;base64,", "#section-")) for source in page.sources)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html


def test_names_and_questions_cannot_become_markup_or_formulas(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>&$\\frac{1}{0}$'
    models = (f"a{evil}", f"b{evil}")
    bundle = small_bundle(tmp_path / "b", models=models).path
    rows = [
        TableRow(
            id=f"{evil}{n}",
            question=f"{evil} {n}",
            task=f"{evil}{n % 2}",
            scores=dict(zip(models, (0.0, 1.0), strict=True)),
        )
        for n in range(4)
    ]
    write_table(tmp_path / "t.jsonl", rows)
    out = tmp_path / "out"
    assert report(bundle, out, "--data", f"{tmp_path / 't.jsonl'}:multi_attempt", "--title", evil) == 0
    page = page_of(out)
    assert "script" not in page.tags
    for words in (evil, f"{evil} 0", f"b{evil}", f"{evil}1"):
        assert any(words in text for text in "".join(page.text).split("\0"))
    assert page.table("Regret against")[f"{evil}0"][0] == f"b{evil}"


def test_the_same_run_gives_the_same_bytes_and_replaces_only_its_own_files(
    bundle: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    words = "--data", f"{table}:multi_attempt"
    assert report(bundle, out, *words) == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert report(bundle, out, *words) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert first["notes.txt"] == b"mine"
    assert str(tmp_path) not in first["report.html"].decode()


def test_a_file_without_tasks_is_one_task_and_like_names_are_told_apart(bundle: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_table(
            tmp_path / f"{name}.jsonl.gz", [row("0", "a 1", 1.0, 0.0, "maths"), row("1", "b 1", 1.0, 0.0, None)]
        )
    data = [f"{tmp_path / name}.jsonl.gz:multi_attempt" for name in ("one", "two")]
    assert report(bundle, tmp_path / "out", "--data", *data) == 0
    accuracy = page_of(tmp_path / "out").table("Routed accuracy")
    assert accuracy.keys() == {"task", "one: maths", "one", "two: maths", "two", "mean over tasks"}


def test_a_router_that_is_its_own_prior_says_so(table: Path, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "plain", models=MODELS).path
    assert report(bundle, tmp_path / "out", "--data", f"{table}:multi_attempt", "--examples", "0") == 0
    page = page_of(tmp_path / "out")
    assert "the router chose the same model for every query" in " ".join(page.text)
    assert not (tmp_path / "out" / "within_task_gain.png").exists()
    assert "another word" not in " ".join(page.text)  # no examples, no questions


def test_duplicates_stand_at_the_top_and_can_be_refused(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = small_bundle(tmp_path / "b", models=MODELS, training_questions=["1 + 1"]).path
    words = "--data", f"{table}:multi_attempt"
    assert report(bundle, tmp_path / "out", *words) == 0
    assert "table.jsonl: 1 of 6 questions stand verbatim in the training data (m0)" in " ".join(
        page_of(tmp_path / "out").text
    )
    assert report(bundle, tmp_path / "strict", *words, "--strict-splits") == 2
    assert "m0" in capsys.readouterr().err
    assert not (tmp_path / "strict").exists()


def test_calibrations_that_the_trainer_recorded_are_shown(full: Path) -> None:
    shown = page_of(full).table("Recorded by the trainer")
    assert shown == {"measure": ["none", "isotonic"], "brier": ["0.2000", "0.2500"], "routed": ["1.0000", "0.5000"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--examples", "-1"], "--examples -1"),
        (["--resamples", "0"], "--resamples"),
        (["--costs", "org/left=1"], "no cost for org/right"),
        (["--learning-curves", "none.jsonl"], "none.jsonl: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(
    bundle: Path, table: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(bundle, tmp_path / "out", "--data", f"{table}:multi_attempt", *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_let_be(
    bundle: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text(json.dumps("mine"))
    assert report(bundle, tmp_path / "out", "--data", f"{table}:multi_attempt") == 2
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == '"mine"'


def test_a_single_query_is_enough(bundle: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "t.jsonl", [row("0", "1", 1.0, 0.0, None)])
    words = "--data", f"{tmp_path / 't.jsonl'}:probability", "--costs", "org/left=1", "org/right=2", "--map", "tsne"
    assert report(bundle, tmp_path / "out", *words) == 0
    assert page_of(tmp_path / "out").table("Routed accuracy")["t"][1] == "100.00"
