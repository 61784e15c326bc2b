from pathlib import Path

import pytest

from benchmarks.demo_contenders import keyword_choice
from benchmarks.demo_pool import main
from router_core.table import TableRow, write_table
from tests.support.small_bundle import small_bundle

MODELS = ("smollm2", "smollm2-json", "smollm2-math", "smollm2-multi", "smollm2-nsort", "smollm2-wrev")
THINGS = ("apples", "rivers", "stones", "letters", "horses", "lamps", "boats", "birds")


def table_rows(side: str) -> list[TableRow]:
    """Sums, which the maths model answers, and questions in words, which the base answers."""
    offset = 0 if side == "train" else 50
    sums = [f"What is {number + offset} + {number * 7}?" for number in range(8)]
    words = [f"{'Why do' if side == 'train' else 'How come'} people like {thing}?" for thing in THINGS]
    return [
        TableRow(
            id=f"{side}:{task}:{index}",
            question=question,
            task=task,
            scores={model: float(model == right or (model == "smollm2-multi" and index % 2 == 0)) for model in MODELS},
        )
        for task, right, questions in (("sums", "smollm2-math", sums), ("words", "smollm2", words))
        for index, question in enumerate(questions)
    ]


@pytest.mark.parametrize(
    ("question", "model"),
    [
        ("Give the name and age as a JSON object.", "smollm2-json"),
        ("Sort 3, 1, 2.", "smollm2-nsort"),
        ("Reverse the words.", "smollm2-wrev"),
        ("What is 3 + 4?", "smollm2-math"),
        ("Who wrote it?", "smollm2"),
    ],
)
def test_keyword_rules(question: str, model: str) -> None:
    assert MODELS[keyword_choice(question, MODELS)] == model


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("demo")
    for side in ("train", "test"):
        write_table(folder / f"{side}.jsonl", table_rows(side))
    # The bundle's order is not the tables': digits go to its first model, words to its second.
    order = ("smollm2-math", "smollm2", *(model for model in MODELS if model not in ("smollm2-math", "smollm2")))
    small_bundle(folder / "bundle", models=order)
    paths = {name: str(folder / name) for name in ("bundle", "train.jsonl", "test.jsonl", "results.md", "readme.md")}
    arguments = ["--quick", "--bundle", paths["bundle"], "--train", paths["train.jsonl"], "--test", paths["test.jsonl"]]
    assert main([*arguments, "--results", paths["results.md"], "--readme", paths["readme.md"]]) == 0
    return tuple(Path(paths[name]).read_text(encoding="utf-8") for name in ("results.md", "readme.md"))  # type: ignore[return-value]


def test_everyone_answers_the_same_queries(pages: tuple[str, str]) -> None:
    page = pages[0]
    assert "| **routed by the bundle** | 16 | 100.0 [100.0, 100.0] |" in page
    assert "| keyword rules | 16 | 100.0 [100.0, 100.0] |" in page
    assert "| oracle (best model per query) | 16 | 100.0 [100.0, 100.0] |" in page
    assert "| always `smollm2-wrev` | 16 | 0.0 [0.0, 0.0] |" in page
    assert "| always `smollm2` | 16 | 50.0 " in page
    assert "the router beats the best single model and cannot be told from keyword rules" in " ".join(page.split())


def test_tasks_methods_costs_and_probabilities_have_their_tables(pages: tuple[str, str]) -> None:
    page = pages[0]
    assert "| sums | 8 | 100 |" in page
    for label in ("task prior", "ridge", "RouterDC as in the paper", "RouterDC without the second loss"):
        assert f"\n| {label} | " in page
    assert "declared and not measured: `smollm2-math` 2, `smollm2` 1," in " ".join(page.split())
    assert "| as served | every query alike |" in page


def test_the_readme_gets_a_few_lines(pages: tuple[str, str]) -> None:
    assert "| routed by the bundle | 100.0 [100.0, 100.0] |" in pages[1]
    assert "The router beats the best single model here" in pages[1]
    assert "###" not in pages[1].split("<!-- demo_pool:begin -->")[1]
